"""Independent pairs of one excitatory and one inhibitory cell, all at once.

Two passes. All pairs first take a few Euler steps from rest and then Newton's, each of which must
halve the residual at a stable point. A pair that fails this is followed from rest once more by

    r <- r + (tau/dt + I - S W)^-1 (phi(W r + h) - r),        S = diag(phi'(W r + h)),

linearly implicit Euler steps in closed form, whose `dt` grows while the linearization predicts
what happens and shrinks where it does not: short steps follow the trajectory, long ones are
Newton's. So a pair ends, quadratically, where its dynamics from rest end, never in an unstable
state.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.solvers.solution import RATE_CAP, Solution

WARM_UP = 16  # Euler steps of a quarter of the faster time constant, at least
LONGEST_WARM_UP = 320  # of them where a pair is still on its way
STRIDE = 4  # Euler steps between two looks at who is on its way
SETTLING = 0.15  # a residual, as a share of the largest rate, from where Newton's method works
NEWTON_STEPS = 12
REFINEMENTS = 2
CHUNK = 256  # pairs that are followed together
FIRST_STEP = 0.2  # of the faster time constant
ACCURACY = 0.1  # the remainder of the linearization, against the residual, that a step may have


class Pair(NamedTuple):
    """One number for E and one for I, each an array over systems."""

    e: Array
    i: Array


class _State(NamedTuple):
    r: Pair
    drift: Pair
    gain: Pair
    dt: Array
    steps: Array
    active: Array
    diverged: Array
    taken: Array


def inputs(weights: Array, drive: Pair, r: Pair) -> Pair:
    """`u = W r + h`; `weights` is `(2, 2, *shape)`, its shape broadcasting against the drive's."""
    return Pair(
        weights[0, 0] * r.e + weights[0, 1] * r.i + drive.e,
        weights[1, 0] * r.e + weights[1, 1] * r.i + drive.i,
    )


def rightmost(weights: Array, gain: Pair, tau: Array) -> tuple[Array, Array]:
    """Largest real part of the eigenvalues of `(S W - I) / tau`, per ms, and the determinant."""
    a = (gain.e * weights[0, 0] - 1) / tau[0]
    d = (gain.i * weights[1, 1] - 1) / tau[1]
    bc = gain.e * gain.i * weights[0, 1] * weights[1, 0] / (tau[0] * tau[1])
    # Half the difference of the diagonal keeps the discriminant exact near a double eigenvalue.
    discriminant = ((a - d) / 2) ** 2 + bc
    real = discriminant > 0
    root = jnp.where(real, jnp.sqrt(jnp.where(real, discriminant, 1)), 0)
    return (a + d) / 2 + root, a * d - bc


def solve(
    weights: Array,
    drive: Pair,
    tau: Array,
    law: PowerLaw,
    *,
    tol: float,
    max_steps: int,
    start: Pair | None = None,
) -> Solution:
    """Steady rates of all pairs, reached from rest or from `start`.

    `weights` is `(2, 2, *points)` and the drives `(..., *points)`; `Solution.r` is a `Pair`.
    """
    shape, points = drive.e.shape, weights[0, 0].size
    finite = jnp.isfinite(drive.e) & jnp.isfinite(drive.i)
    finite &= jnp.isfinite(weights).all(axis=(0, 1))
    drive = Pair(*(jnp.where(finite, h, 0) for h in drive))
    weights = jnp.where(jnp.isfinite(weights), weights, 0)
    r = Pair(*(jnp.zeros_like(h) for h in drive)) if start is None else start
    quick, steps, hard = _quickly(weights, drive, tau, law, tol=tol, r=r)
    hard = (hard & finite).reshape(-1)
    flat = [x.reshape(-1) for x in (*drive, *r)]
    cells = weights.reshape(2, 2, -1)
    chunk = min(CHUNK, hard.size)

    def rest(found: tuple[Array, ...]) -> tuple[Array, ...]:
        todo, e, i, steps, diverged = found
        (index,) = jnp.nonzero(todo, size=chunk, fill_value=hard.size)
        h_e, h_i, r_e, r_i = (x.at[index].get(mode="fill", fill_value=0) for x in flat)
        own = cells[:, :, index % points]
        slow, more, gone = follow(
            own, Pair(h_e, h_i), tau, law, tol=tol, max_steps=max_steps, r=Pair(r_e, r_i)
        )
        put: dict[str, Any] = {"mode": "drop"}
        return (
            todo.at[index].set(False, **put),
            e.at[index].set(slow.e, **put),
            i.at[index].set(slow.i, **put),
            steps.at[index].add(more, **put),
            diverged.at[index].set(gone, **put),
        )

    nowhere = jnp.zeros_like(hard)
    state: tuple[Array, ...] = (
        hard,
        quick.e.reshape(-1),
        quick.i.reshape(-1),
        steps.reshape(-1),
        nowhere,
    )
    if hard.size:
        state = jax.lax.while_loop(lambda found: found[0].any(), rest, state)
    _, e, i, steps, diverged = (x.reshape(shape) for x in state)

    def refine(_: int, state: tuple[Pair, Pair, Array]) -> tuple[Pair, Pair, Array]:
        r, best, least = state
        to, _size, there, _stable = _newton(weights, drive, tau, law, r)
        return to, _choose(there < least, to, best), jnp.minimum(there, least)

    # At the level of rounding one state is better than the next by chance.
    r = Pair(e, i)
    begin = (r, r, _largest(_at(weights, drive, law, r)[0]))
    _, best, residual = jax.lax.fori_loop(0, REFINEMENTS, refine, begin)
    return Solution(best, jnp.where(finite, residual, jnp.inf), steps, diverged | ~finite)


def _at(weights: Array, drive: Pair, law: PowerLaw, r: Pair) -> tuple[Pair, Pair]:
    """`phi(W r + h) - r` and the gains."""
    u = inputs(weights, drive, r)
    return Pair(law.rate(u.e) - r.e, law.rate(u.i) - r.i), Pair(law.gain(u.e), law.gain(u.i))


def _quickly(
    weights: Array, drive: Pair, tau: Array, law: PowerLaw, *, tol: float, r: Pair
) -> tuple[Pair, Array, Array]:
    """Rates after the first pass, its steps, and which pairs it could not do."""
    dt = jnp.min(tau) / 4

    def underway(state: tuple[Pair, Array, Array]) -> Array:
        _, moving, count = state
        return (count < WARM_UP) | ((count < LONGEST_WARM_UP) & moving)

    def euler(r: Pair) -> tuple[Pair, Pair]:
        drift, _gain = _at(weights, drive, law, r)
        return Pair(r.e + dt / tau[0] * drift.e, r.i + dt / tau[1] * drift.i), drift

    def stride(state: tuple[Pair, Array, Array]) -> tuple[Pair, Array, Array]:
        r, _, count = state
        r = jax.lax.fori_loop(1, STRIDE, lambda _, r: euler(r)[0], r)
        r, drift = euler(r)
        size = _largest(r)
        moving = (_largest(drift) > SETTLING * (1 + size)) & (size < RATE_CAP)
        return r, moving.any(), count + STRIDE

    def unfinished(state: tuple[Pair, Array, Array]) -> Array:
        _, steps, active = state
        return active.any() & (jnp.max(steps, initial=0) < NEWTON_STEPS)

    def newton(state: tuple[Pair, Array, Array]) -> tuple[Pair, Array, Array]:
        r, steps, active = state
        to, size, there, stable = _newton(weights, drive, tau, law, r)
        good = stable & (there < 0.5 * size)
        steps = steps + active
        # Steps of -1 mark a pair that failed; it takes no part any more.
        return (
            _choose(active & good, to, r),
            jnp.where(active & ~good, -1, steps),
            active & good & (there > _bound(to, tol)),
        )

    begin = (r, jnp.zeros((), bool), jnp.zeros((), jnp.int32))
    r, _, warmed = jax.lax.while_loop(underway, stride, begin)
    size = _largest(_at(weights, drive, law, r)[0])
    sound = size < RATE_CAP
    active = sound & (size > _bound(r, tol))
    start = (r, jnp.where(sound, 0, -1).astype(jnp.int32), active)
    r, steps, active = jax.lax.while_loop(unfinished, newton, start)
    hard = active | (steps < 0)
    return r, warmed + jnp.maximum(steps, 0), hard


def _newton(
    weights: Array, drive: Pair, tau: Array, law: PowerLaw, r: Pair
) -> tuple[Pair, Array, Array, Array]:
    """A Newton step from `r`, the residuals before and after it, and whether `r` is stable."""
    drift, gain = _at(weights, drive, law, r)
    a, b = 1 - gain.e * weights[0, 0], -gain.e * weights[0, 1]
    c, d = -gain.i * weights[1, 0], 1 - gain.i * weights[1, 1]
    det = a * d - b * c
    inverse = 1 / jnp.where(det == 0, 1, det)
    to = Pair(
        jnp.maximum(r.e + (d * drift.e - b * drift.i) * inverse, 0),
        jnp.maximum(r.i + (a * drift.i - c * drift.e) * inverse, 0),
    )
    # XLA would otherwise compute the step again for each of the results below.
    to = jax.lax.optimization_barrier(to)  # type: ignore[no-untyped-call]  # JAX's own
    there = _largest(_at(weights, drive, law, to)[0])
    return to, _largest(drift), there, (det > 0) & (a / tau[0] + d / tau[1] > 0)


def follow(
    weights: Array,
    drive: Pair,
    tau: Array,
    law: PowerLaw,
    *,
    tol: float,
    max_steps: int,
    r: Pair,
) -> tuple[Pair, Array, Array]:
    """Follow each pair's dynamics from `r` to their end: rates, steps, and which ran away."""

    def at(r: Pair) -> tuple[Pair, Pair]:
        return _at(weights, drive, law, r)

    def unfinished(state: _State) -> Array:
        return (state.taken < max_steps) & state.active.any()

    def advance(state: _State) -> _State:
        r, drift, gain = state.r, state.drift, state.gain
        dt, part = _where_unstable(weights, gain, tau, state.dt)
        a, b = tau[0] / dt + part * (1 - gain.e * weights[0, 0]), -part * gain.e * weights[0, 1]
        c, d = -part * gain.i * weights[1, 0], tau[1] / dt + part * (1 - gain.i * weights[1, 1])
        det = a * d - b * c
        step = Pair((d * drift.e - b * drift.i) / det, (a * drift.i - c * drift.e) / det)
        to = Pair(jnp.maximum(r.e + step.e, 0), jnp.maximum(r.i + step.i, 0))
        to, step, dt, part = jax.lax.optimization_barrier((to, step, dt, part))  # type: ignore[no-untyped-call]  # JAX's own
        drift_there, gain_there = at(to)
        # The linearization predicts the drift there: drift - (I - S W) step.
        remainder = _largest(
            Pair(
                drift_there.e - drift.e - (tau[0] / dt * step.e - drift.e) / part,
                drift_there.i - drift.i - (tau[1] / dt * step.i - drift.i) / part,
            )
        )
        scale = _largest(drift)
        runaway = state.active & ~(_largest(to) < RATE_CAP) & (det > 0)
        good = state.active & ~runaway & (det > 0) & (remainder <= ACCURACY * scale)
        # At the level of rounding the remainder is noise; what lowers the residual is progress.
        good |= state.active & ~runaway & (_largest(drift_there) < ACCURACY * scale)
        grown = jnp.where(remainder < ACCURACY / 8 * scale, 8 * dt, 2 * dt)
        r = _choose(good, to, r)
        drift = _choose(good, drift_there, drift)
        return _State(
            r,
            drift,
            _choose(good, gain_there, gain),
            jnp.clip(jnp.where(good, grown, dt / 4), 1e-9, 1e8),
            state.steps + state.active,
            state.active & ~runaway & (_largest(drift) > _bound(r, tol)),
            state.diverged | runaway,
            state.taken + 1,
        )

    drift, gain = at(r)
    zero = jnp.zeros_like(drift.e)
    first = _State(
        r,
        drift,
        gain,
        zero + FIRST_STEP * jnp.min(tau),
        jnp.zeros(zero.shape, jnp.int32),
        _largest(drift) > _bound(r, tol),
        jnp.zeros(zero.shape, bool),
        jnp.zeros((), jnp.int32),
    )
    last = jax.lax.while_loop(unfinished, advance, first)
    return last.r, last.steps, last.diverged


def adjoint(weights: Array, gain: Pair, cotangent: Pair) -> Pair:
    """`S (I - S W)^-T g` in closed form: what the input of each cell is worth."""
    a, b = 1 - gain.e * weights[0, 0], -gain.e * weights[0, 1]
    c, d = -gain.i * weights[1, 0], 1 - gain.i * weights[1, 1]
    det = a * d - b * c
    # At an exact fold there is no finite gradient; zero, as for a system that did not converge.
    inverse = jnp.where(det == 0, 0, 1 / jnp.where(det == 0, 1, det))
    return Pair(
        gain.e * (d * cotangent.e - c * cotangent.i) * inverse,
        gain.i * (a * cotangent.i - b * cotangent.e) * inverse,
    )


def _where_unstable(weights: Array, gain: Pair, tau: Array, dt: Array) -> tuple[Array, Array]:
    """The step and how implicit it is: 1 (Euler), or 1/2 where the linearization is unstable.

    Implicit Euler damps what should grow; the trapezoidal rule grows exactly where the dynamics do.
    """
    growth, det = rightmost(weights, gain, tau)
    size = jnp.sqrt(jnp.maximum(growth**2, det))
    shorter = jnp.minimum(dt, 1 / jnp.where(growth > 0, size, 1))
    return jnp.where(growth > 0, shorter, dt), jnp.where(growth > 0, 0.5, 1).astype(dt.dtype)


def _bound(r: Pair, tol: float) -> Array:
    return tol * (1 + jnp.maximum(r.e, r.i))


def _largest(pair: Pair) -> Array:
    e, i = jnp.abs(pair.e), jnp.abs(pair.i)
    # XLA's maximum may skip a NaN; comparisons do not.
    return jnp.where((e < jnp.inf) & (i < jnp.inf), jnp.maximum(e, i), jnp.inf)


def _choose(where: Array, yes: Pair, no: Pair) -> Pair:
    return Pair(jnp.where(where, yes.e, no.e), jnp.where(where, yes.i, no.i))
