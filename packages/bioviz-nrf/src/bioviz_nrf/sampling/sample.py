"""Many steps, and what to keep of them."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import torch
from torch import Tensor

from bioviz_nrf.errors import NotSamplesWarning
from bioviz_nrf.sampling.kernels import Info, Langevin, State
from bioviz_nrf.sampling.positions import Position, leaves, rebuild


@dataclass(frozen=True, slots=True)
class Trace:
    """Kept positions `(kept, chains, ...)` in the form of the position, with their energies.

    `state` is where the chains are now, `info` that of the last step (None without a step).
    """

    position: Position
    momentum: Position
    energy: Tensor
    state: State
    info: Info | None


def sample(kernel: Langevin, state: State, *, steps: int, burn_in: int = 0, thin: int = 1) -> Trace:
    """Go `burn_in` steps, then `steps` more and keep every `thin`-th of these."""
    if min(steps, burn_in) < 0 or thin < 1:
        raise ValueError(
            f"steps and burn_in must be at least 0 and thin at least 1, got {steps}, {burn_in} and "
            f"{thin}"
        )
    if kernel.temperature == 0:
        warnings.warn(
            "at temperature 0 the chains only descend: these are no samples",
            NotSamplesWarning,
            stacklevel=2,
        )
    info = None
    for _ in range(burn_in):
        state, info = kernel.step(state)
    kept = []
    for step in range(1, steps + 1):
        state, info = kernel.step(state)
        if step % thin == 0:
            kept.append(state)

    def stacked(trees: list[Position]) -> Position:
        if not trees:
            return rebuild(
                state.position, [p.new_empty(0, *p.shape) for p in leaves(state.position)]
            )
        columns = zip(*map(leaves, trees), strict=True)
        return rebuild(trees[0], [torch.stack(column) for column in columns])

    return Trace(
        stacked([one.position for one in kept]),
        stacked([one.momentum for one in kept]),
        torch.stack([one.energy for one in kept]) if kept else state.energy.new_empty(0),
        state,
        info,
    )


def advance(kernel: Langevin, state: State, *, steps: int) -> tuple[State, Info | None]:
    """Go some steps and keep nothing on the way."""
    info = None
    for _ in range(steps):
        state, info = kernel.step(state)
    return state, info
