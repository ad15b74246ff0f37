"""A light transformer that turns an encoder's tokens back into an image."""

from __future__ import annotations

from typing import Literal

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn

DecoderInput = Literal["patches", "patches+cls", "cls"]
DECODER_INPUTS = ("patches", "patches+cls", "cls")


class Decoder(nn.Module):
    """Tokens to `width`, plus positions, `depth` pre-norm blocks, then pixels in [0, 1].

    `reads` says which tokens: with `patches` (as published) the class token gets no gradient from
    the last block; `patches+cls` adds it to every patch, `cls` gives it alone.
    """

    def __init__(
        self,
        in_dim: int,
        *,
        grid: tuple[int, int],
        patch: tuple[int, int],
        prefix_tokens: int,
        width: int = 512,
        depth: int = 8,
        heads: int = 8,
        reads: DecoderInput = "patches",
    ) -> None:
        super().__init__()
        if reads not in DECODER_INPUTS:
            raise ValueError(f"decoder_input must be one of {DECODER_INPUTS}, got {reads!r}")
        if prefix_tokens < 1 and reads != "patches":
            raise ValueError(f"decoder_input {reads!r} needs a class token, this encoder has none")
        self.grid, self.patch, self.prefix_tokens, self.reads = grid, patch, prefix_tokens, reads
        self.embed = nn.Linear(in_dim, width)
        self.positions = nn.Parameter(torch.empty(1, grid[0] * grid[1], width))
        nn.init.trunc_normal_(self.positions, std=0.02)
        self.blocks = nn.Sequential(*(Block(width, heads, qkv_bias=True) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        self.pixels = nn.Linear(width, patch[0] * patch[1] * 3)

    def forward(self, tokens: Tensor) -> Tensor:
        """Images `(batch, 3, height, width)` from tokens `(batch, prefix + patches, in_dim)`."""
        patches = tokens[:, self.prefix_tokens :]
        if self.reads == "patches+cls":
            patches = patches + tokens[:, :1]
        elif self.reads == "cls":
            patches = tokens[:, :1].expand_as(patches)
        hidden = self.norm(self.blocks(self.embed(patches) + self.positions))
        return unpatchify(self.pixels(hidden), grid=self.grid, patch=self.patch).sigmoid()


def patchify(images: Tensor, *, patch: tuple[int, int]) -> Tensor:
    """`(batch, 3, H, W)` as rows of pixels `(batch, patches, 3 p q)`."""
    batch, channels, height, width = images.shape
    p, q = patch
    cut = images.reshape(batch, channels, height // p, p, width // q, q)
    return cut.permute(0, 2, 4, 1, 3, 5).reshape(batch, -1, channels * p * q)


def unpatchify(rows: Tensor, *, grid: tuple[int, int], patch: tuple[int, int]) -> Tensor:
    """The inverse of `patchify`."""
    (down, across), (p, q) = grid, patch
    cut = rows.reshape(len(rows), down, across, 3, p, q)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(len(rows), 3, down * p, across * q)
