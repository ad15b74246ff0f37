"""Plain Euler steps of the rate equation, `tau dr/dt = phi(W r + h) - r`."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax import Array

from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.solvers.solution import RATE_CAP, Solution, bound, largest


def euler_step(r: Array, u: Array, tau: Array, law: PowerLaw, dt: float) -> Array:
    """The rates `dt` milliseconds later; `u = W r + h`."""
    return r + dt / tau * (law.rate(u) - r)


def solve(
    inputs: Callable[[Array], Array],
    r: Array,
    tau: Array,
    law: PowerLaw,
    *,
    dt: float,
    tol: float,
    max_steps: int,
) -> Solution:
    """Integrate systems `r (batch, cells)` until each is steady; slow, and faithful to the ODE.

    `inputs(r)` is `W r + h`. A system that is done, or ran away, rests at its rates.
    """
    finite = jnp.isfinite(inputs(r)).all(-1)

    def unfinished(state: tuple[Array, Array, Array, Array]) -> Array:
        _, active, _, count = state
        return active.any() & (count < max_steps)

    def advance(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        r, active, steps, count = state
        u = inputs(r)
        steady = largest(law.rate(u) - r) <= bound(r, tol)
        to = jnp.where((active & ~steady)[:, None], euler_step(r, u, tau, law, dt), r)
        sound = largest(to) < RATE_CAP
        active &= ~steady & sound
        return jnp.where(sound[:, None], to, r), active, steps + active, count + 1

    zeros = jnp.zeros(len(r), jnp.int32)
    r, _, steps, _ = jax.lax.while_loop(unfinished, advance, (r, finite, zeros, zeros.sum()))
    drift = largest(law.rate(inputs(r)) - r)
    to = largest(euler_step(r, inputs(r), tau, law, dt))
    diverged = ~finite | ~(to < RATE_CAP)
    return Solution(r, jnp.where(finite, drift, jnp.inf), steps, diverged)
