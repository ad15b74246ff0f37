"""What bioviz-butd registers."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
