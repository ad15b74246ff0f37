"""What goes wrong in bottom-up/top-down networks, under core's errors."""

from __future__ import annotations

from collections.abc import Sequence

from bioviz_core.errors import BiovizError, IncompatibleError


class UnsupportedOpError(BiovizError, NotImplementedError):
    """A module cannot be converted; `problems` lists every offending place, not only the first."""

    def __init__(self, problems: Sequence[str], *, of: str) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        lines = [f"{of} cannot be converted: {count} problem{'s' * (count != 1)}"]
        lines += [f"  {problem}" for problem in self.problems]
        lines.append(
            "Give an operation a rule with register_op_rule, or let it use a local Jacobian "
            'product with convert(..., unsupported="local_vjp")'
        )
        super().__init__("\n".join(lines))


class MissingTraceError(BiovizError, RuntimeError):
    """A top-down pass was asked for before any bottom-up pass left its activities."""


class StaleTraceError(BiovizError, RuntimeError):
    """Weights or inputs changed between the bottom-up pass and its top-down pass."""


class DetachedError(IncompatibleError, RuntimeError):
    """`backward` was called on what a bottom-up pass gave: it has no autograd graph."""
