"""Laws with known moments, to judge kernels by."""

from __future__ import annotations

from dataclasses import dataclass
from math import exp

import torch
from scipy.integrate import quad
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Gaussian:
    """`E(x) = (x - mean) . precision (x - mean) / 2` for `x (chains, D)`."""

    precision: Tensor
    mean: Tensor

    def __post_init__(self) -> None:
        square = self.precision.dim() == 2 and self.precision.shape == self.precision.mT.shape
        if not square or not torch.equal(self.precision, self.precision.mT):
            raise ValueError("precision must be a symmetric matrix")
        if not bool((torch.linalg.eigvalsh(self.precision) > 0).all()):
            raise ValueError("precision must be positive definite")

    def __call__(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Energy of each chain, and its gradient."""
        away = position - self.mean
        slope = away @ self.precision
        return (away * slope).sum(-1) / 2, slope

    @property
    def covariance(self) -> Tensor:
        """The covariance at temperature 1."""
        covariance: Tensor = torch.linalg.inv(self.precision)
        return covariance


@dataclass(frozen=True, slots=True)
class Quartic:
    """`E(x) = x^4 / 4 + x^2 / 2` for `x (chains, 1)`: the simplest law that is no Gaussian."""

    def __call__(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """Energy of each chain, and its gradient."""
        square = position.square()
        return (square * (square + 2) / 4).sum(-1), position * (square + 1)

    def moment(self, order: int) -> float:
        """`E[x^order]` at temperature 1, by quadrature."""
        powers = (order, 0)
        over, under = (
            quad(lambda x, k=k: x**k * exp(-(x**4) / 4 - x**2 / 2), -8, 8)[0] for k in powers
        )
        return float(over / under)
