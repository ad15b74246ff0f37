"""Fast weights in vision transformers: written in a few steps, decaying, taken back to the bit.

    from bioviz_fastweights import ViTAutoencoder, attach_fast_weights

    model = ViTAutoencoder("tiny-64")
    fast = attach_fast_weights(model, rank=8)
    fast.write(images, steps=50)
    fast.reset()

Importing this package loads the standard library only; every name below is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_fastweights.adapters import FastWeightConfig as FastWeightConfig
    from bioviz_fastweights.attach import attach_fast_weights as attach_fast_weights
    from bioviz_fastweights.attach import detach_fast_weights as detach_fast_weights
    from bioviz_fastweights.errors import AttachError as AttachError
    from bioviz_fastweights.errors import ContextError as ContextError
    from bioviz_fastweights.errors import MergedStateError as MergedStateError
    from bioviz_fastweights.errors import UnknownContextError as UnknownContextError
    from bioviz_fastweights.fast_weights import FastWeights as FastWeights
    from bioviz_fastweights.fast_weights import WriteReport as WriteReport
    from bioviz_fastweights.models.autoencoder import ViTAutoencoder as ViTAutoencoder
    from bioviz_fastweights.models.autoencoder import reconstruction_loss as reconstruction_loss
    from bioviz_fastweights.models.decoder import Decoder as Decoder
    from bioviz_fastweights.models.encoder import ARCHITECTURES as ARCHITECTURES
    from bioviz_fastweights.models.encoder import build_encoder as build_encoder
    from bioviz_fastweights.models.fast_weighted import FastWeighted as FastWeighted
    from bioviz_fastweights.rules.gradient_write import GradientWrite as GradientWrite

_MODULES = {
    "adapters": "FastWeightConfig",
    "attach": "attach_fast_weights detach_fast_weights",
    "errors": "AttachError ContextError MergedStateError UnknownContextError",
    "fast_weights": "FastWeights WriteReport",
    "models.autoencoder": "ViTAutoencoder reconstruction_loss",
    "models.decoder": "Decoder",
    "models.encoder": "ARCHITECTURES build_encoder",
    "models.fast_weighted": "FastWeighted",
    "rules.gradient_write": "GradientWrite",
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> Sequence[str]:
    return sorted(_PUBLIC)
