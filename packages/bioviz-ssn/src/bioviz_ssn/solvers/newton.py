"""One network of a few cells, or one that the shared solver left: follow it from rest.

Linearly implicit Euler steps `(tau/dt + I - S W) step = phi(W r + h) - r` whose `dt` grows while
the linearization predicts the residual, and shrinks where it does not (pseudo-transient
continuation): first along the trajectory, at the end Newton's. Each step is one LU.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.solvers import linear
from bioviz_ssn.solvers.solution import RATE_CAP, Solution, bound, largest

FIRST_STEP = 0.2  # of the fastest time constant
ACCURACY = 0.1
RESTLESS = 4.0  # explicit steps that an implicit one may be as long as


class _State(NamedTuple):
    r: Array
    drift: Array
    gain: Array
    dt: Array
    active: Array
    diverged: Array
    taken: Array


def solve(
    weights: Array,
    drive: Array,
    r: Array,
    tau: Array,
    law: PowerLaw,
    *,
    tol: float,
    max_steps: int,
) -> Solution:
    """Steady rates of one system `(cells,)`; finite inputs are the caller's duty."""
    identity = jnp.eye(len(r), dtype=r.dtype)

    def at(r: Array) -> tuple[Array, Array]:
        u = weights @ r + drive
        return law.rate(u) - r, law.gain(u)

    def unfinished(state: _State) -> Array:
        return state.active & (state.taken < max_steps)

    def advance(state: _State) -> _State:
        r, drift, gain, dt = state.r, state.drift, state.gain, state.dt
        matrix = identity * (tau / dt + 1)[:, None] - gain[:, None] * weights
        column, is_positive = linear.solve(matrix, drift[:, None])
        step = column[:, 0]
        to = jnp.maximum(r + step, 0)
        drift_there, gain_there = at(to)
        scale, size = largest(drift), largest(drift_there)
        remainder = largest(drift_there - tau / dt * step)
        # With a growing mode faster than 1/dt the determinant changes its sign and the step turns
        # round; just before that it is far longer than an explicit one.
        forward = is_positive
        forward &= largest(step) <= RESTLESS * dt * largest(drift / tau)
        runaway = ~(largest(to) < RATE_CAP) & forward
        good = ~runaway & forward & ((remainder <= ACCURACY * scale) | (size < ACCURACY * scale))
        grown = jnp.where(remainder < ACCURACY / 8 * scale, 8 * dt, 2 * dt)
        r, drift = jnp.where(good, to, r), jnp.where(good, drift_there, drift)
        return _State(
            r,
            drift,
            jnp.where(good, gain_there, gain),
            jnp.clip(jnp.where(good, grown, dt / 4), 1e-9, 1e8),
            ~runaway & (largest(drift) > bound(r, tol)),
            runaway,
            state.taken + 1,
        )

    drift, gain = at(r)
    first = _State(
        r,
        drift,
        gain,
        FIRST_STEP * jnp.min(tau),
        largest(drift) > bound(r, tol),
        jnp.zeros((), bool),
        jnp.zeros((), jnp.int32),
    )
    last = jax.lax.while_loop(unfinished, advance, first)
    # One step more reaches the level of rounding.
    step, _ = linear.solve(identity - last.gain[:, None] * weights, last.drift[:, None])
    to = jnp.maximum(last.r + step[:, 0], 0)
    drift, residual = at(to)[0], largest(last.drift)
    better = largest(drift) < residual
    r = jnp.where(better & ~last.active, to, last.r)
    residual = jnp.where(better & ~last.active, largest(drift), residual)
    return Solution(r, residual, last.taken, last.diverged)
