"""Walls: positions are folded back and the momentum is mirrored, which keeps the law exactly.

Clamping a position to the wall instead leaves atoms there; it is not offered.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import inf, isfinite

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Bounds:
    """The interval in which every coordinate lives; an end may be infinite."""

    low: float = -inf
    high: float = inf

    def __post_init__(self) -> None:
        if not self.low < self.high:
            raise ValueError(f"low must be below high, got {self.low} and {self.high}")

    def contains(self, position: Tensor) -> bool:
        """Does every coordinate lie inside, or on a wall?"""
        return bool(((position >= self.low) & (position <= self.high)).all())

    def fold(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """The position mirrored at the walls until it is inside, and which coordinates turned.

        A coordinate that met walls an even number of times has not turned.
        """
        if isfinite(self.low) and isfinite(self.high):
            width = self.high - self.low
            inside = (position >= self.low) & (position <= self.high)
            around = torch.remainder(position - self.low, 2 * width)
            turned = (around > width) & ~inside
            folded = self.low + torch.where(turned, 2 * width - around, around)
            # Rounding in the remainder may end a hair outside, and must not move what was inside.
            return torch.where(inside, position, folded.clamp(self.low, self.high)), turned
        wall = self.low if isfinite(self.low) else self.high
        turned = (position < self.low) | (position > self.high)
        return torch.where(turned, 2 * wall - position, position), turned

    def uniform(self, like: Tensor, generator: torch.Generator) -> Tensor:
        """A random position: uniform between two walls, else normal and folded."""
        if isfinite(self.low) and isfinite(self.high):
            return torch.empty_like(like).uniform_(self.low, self.high, generator=generator)
        return self.fold(torch.empty_like(like).normal_(generator=generator))[0]


def Box(low: float, high: float) -> Bounds:
    """Two walls."""
    return Bounds(low, high)


def HalfLine(low: float) -> Bounds:
    """One wall, below."""
    return Bounds(low)
