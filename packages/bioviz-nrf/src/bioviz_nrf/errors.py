"""What goes wrong with fields and samplers, under core's errors."""

from __future__ import annotations

from collections.abc import Sequence

from bioviz_core.errors import BiovizError, DivergedError


class ShapeError(BiovizError, ValueError):
    """States do not have the shapes, or the layout, that is expected."""


class ArchitectureError(BiovizError, ValueError):
    """A field's description does not hold."""


class DivergenceError(DivergedError):
    """Chains of a sampler left the finite numbers; `chains` are their rows."""

    def __init__(self, step: int, chains: Sequence[int], energy: float) -> None:
        super().__init__(step, "energy")
        self.chains, self.energy = tuple(chains), energy
        shown = ", ".join(map(str, chains[:8])) + (", ..." if len(chains) > 8 else "")
        self.args = (
            f"{len(chains)} chains ({shown}) are no longer finite at sampler step {step}; the last "
            f"finite mean energy was {energy:.4g}. Lower step_size, or raise friction",
        )


class NotSamplesWarning(UserWarning):
    """What is recorded are no samples of the Boltzmann law."""
