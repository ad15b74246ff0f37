"""What goes wrong with memories, under core's errors."""

from __future__ import annotations

from bioviz_core.errors import BiovizError


class MemoryFullError(BiovizError, RuntimeError):
    """A store has no free row and its eviction is "error"."""


class NotConvergedWarning(UserWarning):
    """Some states were still moving when the steps ran out."""
