"""What bioviz-ssn raises on purpose."""

from __future__ import annotations

from collections.abc import Mapping

from bioviz_core.errors import BiovizError


class SSNError(BiovizError):
    """Root of this package's errors."""


class ParameterError(SSNError, ValueError):
    """A parameter or an input breaks a rule of the model; the message names it."""


class FixedPointError(SSNError, ArithmeticError):
    """Some systems have no fixed point that the solver could reach.

    `unconverged` and `diverged` count systems, `worst` is the index of the largest residual.
    """

    def __init__(
        self,
        unconverged: int,
        total: int,
        *,
        diverged: int,
        worst: tuple[int, ...],
        residual: float,
    ) -> None:
        self.unconverged, self.total, self.diverged = unconverged, total, diverged
        self.worst, self.residual = worst, residual
        super().__init__(
            f"{unconverged} of {total} systems did not converge ({diverged} ran away); the worst, "
            f"at index {worst}, is left with a residual of {residual:.3g} Hz. "
            "Lower the drive or the excitatory weights, or raise max_steps"
        )


class InitializationError(SSNError, RuntimeError):
    """No draw of initial parameters was accepted; `failures` counts each condition."""

    def __init__(self, draws: int, failures: Mapping[str, int]) -> None:
        self.draws, self.failures = draws, dict(failures)
        counts = ", ".join(f"{name} {count} times" for name, count in failures.items())
        super().__init__(
            f"none of {draws} draws of initial parameters was accepted; failed were: {counts}. "
            "Widen the ranges of the draw, or relax the bounds on rates"
        )
