"""What core registers itself, by the same door as anybody's plugin."""

from __future__ import annotations

from bioviz_core.hooks import hookimpl
from bioviz_core.registry import Registrar


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare core's rules, models, stimuli and analyses."""
    registry.rule(
        "backprop-torch",
        "bioviz_core.bridge.torch:Backprop",
        summary="Gradient descent on the model's objective, by autograd",
        framework="torch",
    )
