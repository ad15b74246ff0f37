"""What goes wrong with fast weights, under core's errors."""

from __future__ import annotations

from collections.abc import Sequence

from bioviz_core.errors import BiovizError


class AttachError(BiovizError, ValueError):
    """Fast weights cannot be attached to this model, or not so."""


class MergedStateError(BiovizError, RuntimeError):
    """The call would change or store weights while the fast ones are merged into the slow ones."""

    def __init__(self, call: str) -> None:
        super().__init__(f"{call} while merged: leave `with fast_weights.merged():` first")


class ContextError(BiovizError, ValueError):
    """Contexts cannot be named, mixed or changed like that."""


class UnknownContextError(ContextError):
    """No context has this name."""

    def __init__(self, name: str, known: Sequence[str]) -> None:
        super().__init__(f"no context is called {name!r}: there are {', '.join(known)}")
