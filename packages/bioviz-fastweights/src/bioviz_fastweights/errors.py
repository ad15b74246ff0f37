"""What goes wrong with fast weights, under core's errors."""

from __future__ import annotations

from bioviz_core.errors import BiovizError


class AttachError(BiovizError, ValueError):
    """Fast weights cannot be attached to this model, or not so."""


class MergedStateError(BiovizError, RuntimeError):
    """The call would change or store weights while the fast ones are merged into the slow ones."""

    def __init__(self, call: str) -> None:
        super().__init__(f"{call} while merged: leave `with fast_weights.merged():` first")
