"""What is proved about retrieval: separation, error bounds, capacity (Ramsauer et al. 2020)."""

from __future__ import annotations

import math

import torch
from scipy.special import lambertw
from torch import Tensor


def separation(patterns: Tensor) -> Tensor:
    """`Delta_i = x_i.x_i - max_{j != i} x_i.x_j` of patterns `(M, D)`; inf for a single one."""
    products = patterns @ patterns.mT
    own = products.diagonal().clone()
    others = products.fill_diagonal_(-torch.inf).amax(-1)
    return own - others


def radius(patterns: Tensor) -> Tensor:
    """`R`, the largest norm of the patterns."""
    norms: Tensor = torch.linalg.vector_norm(patterns, dim=-1)
    return norms.max()


def needed_separation(patterns: Tensor, *, beta: float) -> Tensor:
    """The `Delta` from which a pattern counts as well separated.

    `2 / (beta M) + ln(2 (M - 1) M beta R^2) / beta`
    """
    count = len(patterns)
    inside = 2 * (count - 1) * count * beta * radius(patterns).square()
    return 2 / (beta * count) + inside.log() / beta


def fixed_point_bound(patterns: Tensor, *, beta: float) -> Tensor:
    """Bound on `|x_i - x*|` for each well separated pattern: `2e (M - 1) R exp(-beta Delta_i)`.

    Holds for the fixed point reached from a query within `1 / (2 beta R)` of `x_i`.
    """
    weight = 2 * math.e * (len(patterns) - 1) * radius(patterns)
    return weight * (-beta * separation(patterns)).exp()


def one_step_bound(patterns: Tensor, distance: Tensor, *, beta: float) -> Tensor:
    """Bound on `|f(q) - x_i|` after one update.

    `2 (M - 1) R exp(-beta (Delta_i - 2 R d_i))` with `d_i = max(|q - x_i|, |x* - x_i|)`.
    """
    largest = radius(patterns)
    lead = separation(patterns) - 2 * largest * distance
    return 2 * (len(patterns) - 1) * largest * (-beta * lead).exp()


def capacity_constant(dim: int, *, beta: float, scale: float, failure: float) -> float:
    """`c`: at least `sqrt(p) c^((D - 1) / 4)` random patterns are stored.

    Patterns lie on the sphere of radius `scale * sqrt(D - 1)`; `failure` is `p`, the probability
    that a pattern is not. `c = b / W0(exp(a + ln b))` with `a = 2 / (D - 1) (1 + ln(2 beta K^2 p
    (D - 1)))`, `b = 2 K^2 beta / 5` and Lambert's upper branch `W0`.
    """
    if dim < 2 or min(beta, scale) <= 0 or not 0 < failure < 1:
        raise ValueError(
            f"needs dim > 1, beta and scale > 0 and 0 < failure < 1, got dim={dim}, beta={beta}, "
            f"scale={scale}, failure={failure}"
        )
    b = 2 * scale**2 * beta / 5
    a = 2 / (dim - 1) * (1 + math.log(2 * beta * scale**2 * failure * (dim - 1)))
    return b / float(lambertw(math.exp(a + math.log(b))).real)


def capacity_bound(dim: int, *, beta: float, scale: float, failure: float) -> float:
    """How many random patterns are stored at least; see `capacity_constant`."""
    constant = capacity_constant(dim, beta=beta, scale=scale, failure=failure)
    return float(math.sqrt(failure) * constant ** ((dim - 1) / 4))
