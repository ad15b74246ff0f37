"""timm vision transformers as encoders: tokens out, nothing pooled."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import timm
import torch
from timm.models.vision_transformer import VisionTransformer


@dataclass(frozen=True, slots=True)
class Architecture:
    """An encoder, by its timm name or by the options of its class, and the decoder's size."""

    timm_name: str | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    decoder_width: int = 512
    decoder_depth: int = 8
    decoder_heads: int = 8


ARCHITECTURES: dict[str, Architecture] = {
    "clip-b16": Architecture("vit_base_patch16_clip_quickgelu_224"),
    "clip-b32": Architecture("vit_base_patch32_clip_quickgelu_224"),
    "clip-l14": Architecture("vit_large_patch14_clip_quickgelu_224"),
    "small": Architecture("vit_small_patch16_224"),
    "tiny-64": Architecture(
        options={"img_size": 64, "patch_size": 8, "embed_dim": 96, "depth": 6, "num_heads": 3},
        decoder_width=96,
        decoder_depth=2,
        decoder_heads=3,
    ),
}


def find_architecture(name: str) -> Architecture:
    """The architecture of this name."""
    if name not in ARCHITECTURES:
        raise ValueError(
            f"no architecture is called {name!r}; there are {', '.join(ARCHITECTURES)}"
        )
    return ARCHITECTURES[name]


def build_encoder(name: str, *, seed: int = 0) -> VisionTransformer:
    """An encoder with random weights from `seed`; its answer is `(batch, tokens, width)`."""
    architecture = find_architecture(name)
    # timm's initializers know only the global generator: it is as before afterwards.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        if architecture.timm_name is None:
            return VisionTransformer(**architecture.options, num_classes=0, global_pool="")
        encoder = timm.create_model(
            architecture.timm_name, pretrained=False, num_classes=0, global_pool=""
        )
    assert isinstance(encoder, VisionTransformer)
    return encoder
