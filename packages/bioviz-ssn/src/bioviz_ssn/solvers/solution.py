"""What every solver returns, and when it stops."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import Array

RATE_CAP = 1e6
"""Hertz; a system that passes it has run away and is left at its last rates below."""


class Solution(NamedTuple):
    """Rates of a batch of systems, and how each system ended.

    `residual` is `max |phi(W r + h) - r|` in hertz, infinite where the input is not finite.
    """

    r: Any
    residual: Array
    steps: Array
    diverged: Array


def largest(x: Array) -> Array:
    """`max |x|` over the last axis, infinite where there is a NaN: XLA's own max may skip it."""
    size = jnp.abs(x)
    return jnp.max(jnp.where(size < jnp.inf, size, jnp.inf), axis=-1, initial=0)


def bound(r: Array, tol: float) -> Array:
    """The residual below which rates `r (..., cells)` count as steady: `tol (1 + max r)`."""
    return tol * (1 + jnp.max(r, axis=-1, initial=0))
