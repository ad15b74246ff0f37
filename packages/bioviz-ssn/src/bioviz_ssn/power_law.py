"""The expansive input-output function of every cell, and its gain."""

from __future__ import annotations

from dataclasses import dataclass

import jax.numpy as jnp
from jax import Array

from bioviz_ssn.errors import ParameterError


@dataclass(frozen=True, slots=True)
class PowerLaw:
    """Rate of a cell from its input: `phi(u) = k max(u, 0)^n`, in hertz.

    `k` is the scale, `n >= 1` the power; n = 1 is the linear-threshold network. Static under jit.
    """

    k: float = 0.04
    n: float = 2.0

    def __post_init__(self) -> None:
        if not 0 < self.k < float("inf"):
            raise ParameterError(f"k must be positive and finite, got {self.k}; the paper has 0.04")
        if not 1 <= self.n < float("inf"):
            raise ParameterError(f"n must be at least 1 and finite, got {self.n}; the paper has 2")

    def rate(self, u: Array) -> Array:
        """`phi(u)`, of the shape of `u`; a silent cell has rate and gradient 0 for every n."""
        if self.n == 2:
            return self.k * jnp.square(jnp.maximum(u, 0))
        # The inner where keeps powers away from 0, where their derivative may be infinite.
        active = u > 0
        return jnp.where(active, self.k * jnp.where(active, u, 1) ** self.n, 0)

    def gain(self, u: Array) -> Array:
        """`phi'(u) = n k max(u, 0)^(n-1)`, in hertz per unit of input; 0 at u = 0."""
        if self.n == 2:
            return 2 * self.k * jnp.maximum(u, 0)
        active = u > 0
        return jnp.where(active, self.n * self.k * jnp.where(active, u, 1) ** (self.n - 1), 0)
