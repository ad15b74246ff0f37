"""Many inputs to one network: Newton's method with the Jacobian at the batch's mean gain.

With `s` the mean gain and `Q = W (I - diag(s) W)^-1`, one factorization for the whole batch, the
fixed point `u = W phi(u) + h` becomes

    u = h + Q (phi(u) + s (h - u)),

one matrix product per iteration, which contracts by the spread of the gains around their mean. All
systems first take Euler steps from rest. For those whose residual does not fall, `Q` preconditions
Newton's method, whose linear systems are solved for the whole batch at once (`krylov`): each step
must halve the residual, at a positive determinant. What is left takes more Euler steps and tries
again; then it is followed on its own (`newton`). So a batch mate can spoil the speed of a result,
but not the result.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.solvers import krylov, linear, newton
from bioviz_ssn.solvers.solution import RATE_CAP, Solution, bound, largest

WARM_UP = 16  # Euler steps of a quarter of the fastest time constant, at least
LONGEST_WARM_UP = 160  # of them where a system of the batch is still on its way
STRIDE = 4  # Euler steps between two looks at who is on its way
SETTLING = 0.05  # a residual, as a share of the largest rate, from where the chord contracts
ROUNDS = 3  # of all that; each waits twice as long and until `CLOSER`
CLOSER = 5.0
ITERATIONS = 150  # of the chord; contracting by half, 40 reach the rounding of float64
REFINEMENTS = 3
NEWTON_STEPS = 10
SURE = 0.3  # of the bound: a residual that is not there by chance
RESTARTS = 8  # of the adjoint's linear solver
OUTLIER = 8.0  # times the geometric mean of the batch's largest rates
STALLED = 0.97  # two iterations that leave more of the change than this have failed


def solve(
    weights: Array,
    drive: Array,
    r: Array,
    tau: Array,
    law: PowerLaw,
    *,
    tol: float,
    max_steps: int,
) -> tuple[Solution, Array, Array]:
    """Steady rates for `drive (batch, cells)`; for the gradient, the mean gain and `Q`."""
    finite = jnp.isfinite(drive).all(-1) & jnp.isfinite(weights).all()
    drive = jnp.where(finite[:, None], drive, 0)
    weights = jnp.where(jnp.isfinite(weights), weights, 0)
    none = jnp.zeros(len(drive), jnp.int32)
    nothing = jnp.zeros_like(tau), jnp.zeros_like(weights)
    start = _Round(r, jnp.zeros_like(r), finite, none, *nothing, jnp.zeros((), jnp.int32))

    def unfinished(state: _Round) -> Array:
        return state.left.any() & (state.rounds < ROUNDS)

    def advance(state: _Round) -> _Round:
        return _round(weights, drive, tau, law, state, tol=tol)

    last = jax.lax.while_loop(unfinished, advance, start)
    warm = jnp.where((largest(last.warm) < RATE_CAP)[:, None], last.warm, r)
    alone: tuple[Array, ...] = (last.left, last.found, last.steps, jnp.zeros_like(last.left))

    def rest(state: tuple[Array, ...]) -> tuple[Array, ...]:
        left, found, steps, diverged = state
        k = jnp.argmax(left)
        own = newton.solve(weights, drive[k], warm[k], tau, law, tol=tol, max_steps=max_steps)
        return (
            left.at[k].set(False),
            found.at[k].set(own.r),
            steps.at[k].add(own.steps),
            diverged.at[k].set(own.diverged),
        )

    if len(drive):
        alone = jax.lax.while_loop(lambda state: state[0].any(), rest, alone)
    _, found, steps, diverged = alone
    residual = jnp.where(finite, _residual(weights, drive, found, law), jnp.inf)
    return Solution(found, residual, steps, diverged | ~finite), last.gain, last.dressed


class _Round(NamedTuple):
    """What rounds leave: rates on their way and found, who is left, and the first round's chord."""

    warm: Array
    found: Array
    left: Array
    steps: Array
    gain: Array
    dressed: Array
    rounds: Array


def _round(
    weights: Array, drive: Array, tau: Array, law: PowerLaw, state: _Round, *, tol: float
) -> _Round:
    """Euler steps of the systems that are left, then the chord at their own mean gain."""
    share = SETTLING / CLOSER**state.rounds
    warm, moving, warmed = _warm_up(
        weights, drive, tau, law, state.warm, left=state.left, share=share,
        longest=LONGEST_WARM_UP * 2**state.rounds,
    )  # fmt: skip
    u = warm @ weights.T + drive
    peak = largest(warm)
    sound = state.left & (peak < RATE_CAP)
    u = jnp.where(sound[:, None], u, 0)
    # A system that runs away has no part in the mean, or it would spoil the chord for its mates.
    size = jnp.where(sound, jnp.log1p(jnp.minimum(peak, RATE_CAP)), 0)
    usual = jnp.expm1(jnp.sum(size) / jnp.maximum(jnp.sum(sound), 1))
    typical = sound & (peak <= OUTLIER * (1 + usual))
    gain = jnp.sum(jnp.where(typical[:, None], law.gain(u), 0), axis=0)
    gain = gain / jnp.maximum(jnp.sum(typical), 1)
    dressed, is_stable = dress(weights, gain)
    # What still moves may never come to rest: the chord would find a state that it circles.
    active = sound & is_stable & ~moving
    u, steps, good = _iterate(dressed, drive, u, gain, law, tol=tol, active=active)

    def refine(_: int, state: tuple[Array, ...]) -> tuple[Array, ...]:
        r, drift, best, least = state
        r = jnp.maximum(r + drift + gain * (drift @ dressed.T), 0)
        drift = law.rate(r @ weights.T + drive) - r
        size = largest(drift)
        return r, drift, jnp.where((size < least)[:, None], r, best), jnp.minimum(size, least)

    # In terms of rates the last digits are exact; in terms of u they suffer from cancellation. At
    # the level of rounding one state is better than the next by chance.
    near = jnp.where(good[:, None], law.rate(u), warm)
    drift = law.rate(near @ weights.T + drive) - near
    begin = (near, drift, near, largest(drift))
    _, _, better, residual = jax.lax.fori_loop(0, REFINEMENTS, refine, begin)
    done = good & (residual <= bound(better, tol))
    exact, more, good = _newton(
        weights, drive, warm, dressed, gain, law, tol=tol, active=active & ~done
    )
    better = jnp.where(good[:, None], exact, better)
    done |= good
    is_first = state.rounds == 0
    return _Round(
        warm,
        jnp.where(done[:, None], better, state.found),
        state.left & ~done,
        state.steps + jnp.where(state.left, warmed + steps + more, 0),
        jnp.where(is_first, gain, state.gain),
        jnp.where(is_first, dressed, state.dressed),
        state.rounds + 1,
    )


def _warm_up(
    weights: Array, drive: Array, tau: Array, law: PowerLaw, r: Array, *, left: Array,
    share: Array, longest: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Rates after Euler steps, which of those left still move, and how many steps it took."""
    dt = jnp.min(tau) / 4

    def underway(state: tuple[Array, Array, Array]) -> Array:
        _, moving, count = state
        return (count < WARM_UP) | ((count < longest) & moving.any())

    def euler(r: Array) -> tuple[Array, Array]:
        drift = law.rate(r @ weights.T + drive) - r
        return r + dt / tau * drift, drift

    def stride(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        r, _, count = state
        r = jax.lax.fori_loop(1, STRIDE, lambda _, r: euler(r)[0], r)
        r, drift = euler(r)
        peak = largest(r)
        moving = left & (largest(drift) > share * (1 + peak)) & (peak < RATE_CAP)
        return r, moving, count + STRIDE

    start = (r, jnp.zeros_like(left), jnp.zeros((), jnp.int32))
    return jax.lax.while_loop(underway, stride, start)


def dress(weights: Array, gain: Array) -> tuple[Array, Array]:
    """`Q = W (I - diag(s) W)^-1`, and whether `I - diag(s) W` has a positive determinant.

    With a negative one an odd number of modes grows, so that the mean state is not a stable one.
    """
    identity = jnp.eye(len(gain), dtype=gain.dtype)
    # W (I - s W)^-1 = (I - W s)^-1 W.
    dressed, is_positive = linear.solve(identity - weights * gain, weights)
    is_sound = jnp.isfinite(dressed).all()
    return jnp.where(is_sound, dressed, 0), is_sound & is_positive


def adjoint(
    weights: Array, gain: Array, cotangent: Array, mean_gain: Array, dressed: Array
) -> Array:
    """`S (I - S W)^-T g` for every row of `gain` and `cotangent (batch, cells)`.

    With `x = (I - S W)^-T g`, `x - x (S - s) Q = g + g s Q`; rows that do not settle get
    a solve of their own.
    """
    tol = 1e-5 if gain.dtype == jnp.float32 else 1e-13
    spread = gain - mean_gain
    right = cotangent + (cotangent * mean_gain) @ dressed

    def apply(x: Array) -> Array:
        return (x * spread) @ dressed

    def unsolved(missing: Array) -> Array:
        return ~(largest(missing) <= tol * largest(right))

    def unfinished(state: tuple[Array, Array, Array]) -> Array:
        _, missing, count = state
        return (count < RESTARTS) & unsolved(missing).any()

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        x, missing, count = state
        x = x + krylov.solve(apply, missing)[0]
        return x, right - x + apply(x), count + 1

    start = (jnp.zeros_like(right), right, jnp.zeros((), jnp.int32))
    x, missing, _ = jax.lax.while_loop(unfinished, advance, start)
    left = ~(largest(missing) <= 100 * tol * largest(right))
    identity = jnp.eye(weights.shape[0], dtype=gain.dtype)

    def rest(state: tuple[Array, Array]) -> tuple[Array, Array]:
        left, x = state
        k = jnp.argmax(left)
        matrix = (identity - gain[k][:, None] * weights).T
        own = linear.solve(matrix, cotangent[k][:, None])[0][:, 0]
        return left.at[k].set(False), x.at[k].set(jnp.where(jnp.isfinite(own), own, 0))

    if len(gain):
        _, x = jax.lax.while_loop(lambda state: state[0].any(), rest, (left, x))
    return gain * x


def _iterate(
    dressed: Array,
    drive: Array,
    u: Array,
    gain: Array,
    law: PowerLaw,
    *,
    tol: float,
    active: Array,
) -> tuple[Array, Array, Array]:
    """The chord iteration: inputs `u`, steps, and which systems it brought home."""
    constant = gain * drive

    def unfinished(state: tuple[Array, ...]) -> Array:
        *_, steps, active, _ = state
        return active.any() & (jnp.max(steps, initial=0) < ITERATIONS)

    def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
        u, r, change, before, steps, active, good = state
        to = drive + (r + constant - gain * u) @ dressed.T
        rates = law.rate(to)
        left = largest(rates - r)
        done = left <= SURE * bound(rates, tol)
        sound = (left < STALLED * before) & (largest(rates) < RATE_CAP)
        moved = active & (sound | done)
        steps = steps + active
        return (
            jnp.where(moved[:, None], to, u),
            jnp.where(moved[:, None], rates, r),
            jnp.where(moved, left, change),
            change,
            steps,
            moved & ~done,
            good | (active & done),
        )

    batch = len(u)
    start: tuple[Array, ...] = (
        u,
        law.rate(u),
        jnp.full(batch, jnp.inf, u.dtype),
        jnp.full(batch, jnp.inf, u.dtype),
        jnp.zeros(batch, jnp.int32),
        active,
        jnp.zeros(batch, bool),
    )
    u, *_, steps, _, good = jax.lax.while_loop(unfinished, advance, start)
    return u, steps, good


def _newton(
    weights: Array, drive: Array, r: Array, dressed: Array, gain: Array, law: PowerLaw, *,
    tol: float, active: Array,
) -> tuple[Array, Array, Array]:  # fmt: skip
    """Newton's method from `r`: rates, steps, and which systems it brought home.

    The step obeys `(I - S W) step = drift`; with `step = (I + s Q) y` that is near the identity,
    `y - (S - s) Q y = drift`.
    """

    def unfinished(state: tuple[Array, ...]) -> Array:
        _, steps, active, _ = state
        return active.any() & (jnp.max(steps, initial=0) < NEWTON_STEPS)

    def advance(state: tuple[Array, ...]) -> tuple[Array, ...]:
        r, steps, active, good = state
        u = r @ weights.T + drive
        drift, spread = law.rate(u) - r, law.gain(u) - gain
        y, is_positive = krylov.solve(lambda y: spread * (y @ dressed.T), drift)
        to = jnp.maximum(r + y + gain * (y @ dressed.T), 0)
        size, there = largest(drift), _residual(weights, drive, to, law)
        sound = active & is_positive
        halved = sound & (there < size / 2)
        # No step halves what is rounding.
        settled = sound & ~halved & (size <= SURE * bound(r, tol))
        return jnp.where(halved[:, None], to, r), steps + active, halved, good | settled

    nowhere = jnp.zeros(len(r), bool)
    start: tuple[Array, ...] = (r, nowhere.astype(jnp.int32), active, nowhere)
    r, steps, _, good = jax.lax.while_loop(unfinished, advance, start)
    return r, steps, good


def _residual(weights: Array, drive: Array, r: Array, law: PowerLaw) -> Array:
    return largest(law.rate(r @ weights.T + drive) - r)
