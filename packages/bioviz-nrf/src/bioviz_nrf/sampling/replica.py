"""The published sampler, as its code has it: to compare with, not a sampler of `exp(-E)`.

With step e, damping a and inverse mass u it does

    v <- (1 - a) v - e^2 u dE/dx + sqrt(s) xi,   x <- x + v,   s = clamp(2 e^2 a u - e^4, limits)

The limits pin the noise, whatever the mass, and so set a temperature far below 1; the `e^4` is
taken off for gradient noise that an exact gradient does not have.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bioviz_nrf.sampling.kernels import normal

LIMITS = (9e-5, 1e-4)


def replica(
    energy_and_grad: Callable[[Any], tuple[Tensor, Any]],
    position: Tensor,
    *,
    steps: int,
    generator: torch.Generator,
    burn_in: int = 100,
    step_size: float = 0.1,
    damping: float = 0.1,
    adapts: bool = True,
    limits: tuple[float, float] = LIMITS,
) -> Tensor:
    """Positions `(steps, chains, D)` after a burn-in in which each chain sets its own masses.

    The masses follow Springenberg et al. (2016): with a window `t`, a mean slope `g` and a mean
    square `q` per coordinate, all from 1, `u = 1 / sqrt(q)`.
    """
    x, velocity = position, torch.zeros_like(position)
    window, slope, square = (torch.ones_like(position) for _ in range(3))
    kept = []
    for step in range(burn_in + steps):
        _, grad = energy_and_grad(x)
        if adapts and step < burn_in:
            rate = 1 / (window + 1)
            window = window + 1 - window * slope**2 / square
            slope = slope + rate * (grad - slope)
            square = square + rate * (grad**2 - square)
        mobility = square.rsqrt()
        spread = (2 * step_size**2 * damping * mobility - step_size**4).clamp(*limits)
        push = spread.sqrt() * normal(x, generator) - step_size**2 * mobility * grad
        velocity = (1 - damping) * velocity + push
        x = x + velocity
        if step >= burn_in:
            kept.append(x)
    return torch.stack(kept)
