"""The mass of each coordinate: it sets the speed of the dynamics and leaves the law alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Mass:
    """A diagonal mass: one number, or for each tensor of the position one per coordinate."""

    parts: tuple[Tensor, ...]
    is_scalar: bool = False

    def __post_init__(self) -> None:
        for part in self.parts:
            if not bool((part > 0).all()) or not bool(part.isfinite().all()):
                raise ValueError("a mass must be positive and finite everywhere")

    @classmethod
    def scalar(cls, mass: float = 1.0) -> Self:
        """The same mass everywhere."""
        return cls((torch.tensor(mass, dtype=torch.float64),), is_scalar=True)

    @classmethod
    def diagonal(cls, masses: Sequence[Tensor]) -> Self:
        """A mass per coordinate, without the chains' axis: all chains obey one law of motion."""
        return cls(tuple(masses))

    def on(self, position: Sequence[Tensor]) -> list[Tensor]:
        """The mass for each tensor of a position, in its precision."""
        if self.is_scalar:
            return [self.parts[0].to(part) for part in position]
        shapes = [tuple(part.shape[1:]) for part in position]
        mine = [tuple(part.shape) for part in self.parts]
        if shapes != mine:
            raise ValueError(f"the masses have the shapes {mine}, one chain has {shapes}")
        return [mass.to(part) for mass, part in zip(self.parts, position, strict=True)]
