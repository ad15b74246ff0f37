"""A vision transformer that reconstructs what it sees."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

import torch
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Batch, Field, Objective, Refusal
from timm.data.config import resolve_model_data_config
from torch import Tensor
from torch.nn.functional import l1_loss, mse_loss

from bioviz_fastweights.attach import attach_fast_weights
from bioviz_fastweights.models.decoder import Decoder, DecoderInput
from bioviz_fastweights.models.encoder import build_encoder, find_architecture
from bioviz_fastweights.models.fast_weighted import FastWeightedModel

ObjectiveName = Literal["reconstruct", "denoise"]


def reconstruction_loss(outputs: Tensor, targets: Tensor, *, weight: float = 0.1) -> Tensor:
    """`mean (x' - x)^2 + weight mean |x' - x|`, in pixels of [0, 1]."""
    return mse_loss(outputs, targets) + weight * l1_loss(outputs, targets)


class ViTAutoencoder(FastWeightedModel):
    """An encoder by name, a decoder, and the loss between an image in [0, 1] and its copy.

    `rank` attaches fast weights of that rank at once. The objective `denoise` compares with the
    batch's `targets` instead of its `inputs`.
    """

    def __init__(
        self,
        architecture: str = "tiny-64",
        *,
        rank: int | None = None,
        decoder_input: DecoderInput = "patches",
        objective: ObjectiveName = "reconstruct",
        seed: int = 0,
    ) -> None:
        super().__init__()
        found = find_architecture(architecture)
        if objective not in ("reconstruct", "denoise"):
            raise ValueError(f"objective must be 'reconstruct' or 'denoise', got {objective!r}")
        self.encoder = build_encoder(architecture, seed=seed)
        self.objective = Objective(
            objective,
            partial(_loss, key="inputs" if objective == "reconstruct" else "targets"),
            reads=("inputs",) if objective == "reconstruct" else ("targets",),
        )
        embed = self.encoder.patch_embed
        assert embed.grid_size is not None
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.decoder = Decoder(
                self.encoder.embed_dim,
                grid=embed.grid_size,
                patch=embed.patch_size,
                prefix_tokens=self.encoder.num_prefix_tokens,
                width=found.decoder_width,
                depth=found.decoder_depth,
                heads=found.decoder_heads,
                reads=decoder_input,
            )
        data = resolve_model_data_config(self.encoder)  # type: ignore[no-untyped-call]  # timm
        for name in ("mean", "std"):
            values = torch.tensor(data[name]).reshape(1, 3, 1, 1)
            self.register_buffer(name, values, persistent=False)
        if rank is not None:
            attach_fast_weights(self, rank=rank, seed=seed)

    mean: Tensor
    std: Tensor

    def forward(self, images: Tensor) -> Tensor:
        """The copy of each image, `(batch, 3, height, width)` in [0, 1]."""
        copies: Tensor = self.decoder(self.encoder((images - self.mean) / self.std))
        return copies


def _loss(outputs: Tensor, batch: Batch, *, key: Literal["inputs", "targets"]) -> Tensor:
    return reconstruction_loss(outputs, batch[key])


def for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """The architecture that takes images of this shape."""
    by_shape = {(3, 64, 64): "tiny-64", (3, 224, 224): "small"}
    if (shape := fields["inputs"].shape) not in by_shape:
        why = f"there are encoders for images of {[*by_shape]}, inputs are {shape}"
        raise IncompatibleError([Refusal("data", "inputs", why)])
    return {"architecture": by_shape[shape]}
