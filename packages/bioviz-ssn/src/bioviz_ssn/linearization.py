"""How a network answers small changes: Jacobian, stability, susceptibility, slow modes.

Around rates `r` with gains `S = diag(phi'(W r + h))`, a small change obeys

    tau d(dr)/dt = (S W - I) dr + S dh,

so that it decays with the eigenvalues of `(S W - I) / tau` and ends at `(I - S W)^-1 S dh`.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bioviz_ssn.solvers import pairs
from bioviz_ssn.steady_state import FixedPoint, Layer, System, split

SLOWEST = 0.01
"""Decay per ms below which a mode counts as slow: a time constant of 100 ms."""

_SQUARINGS = 9
_PASSES = 32


def jacobian(layer: Layer[Any], params: Any, drive: Array, r: Array) -> Array:
    """`(S W - I) / tau`, per ms: `(..., cells, cells)`, for pairs `(..., *points, 2, 2)`."""
    system = layer.system(params, drive)
    recurrent, tau = _recurrent(system, r)
    found: Array = (recurrent - jnp.eye(tau.size, dtype=r.dtype)) / tau[:, None]
    return found


def susceptibility(layer: Layer[Any], params: Any, drive: Array, r: Array) -> Array:
    """`dr/dh = (I - S W)^-1 S` at the fixed point `r`, shaped as `jacobian`."""
    system = layer.system(params, drive)
    recurrent, tau = _recurrent(system, r)
    gain = _gain(system, r)
    if system.axis is not None:
        gain = jnp.moveaxis(gain, system.axis, -1)
    identity = jnp.eye(tau.size, dtype=r.dtype)
    found: Array = jnp.linalg.solve(identity - recurrent, gain[..., None] * identity)
    return found


def stability(layer: Layer[Any], params: Any, drive: Array, r: Array) -> Array:
    """How fast the slowest mode of each system decays, per ms; negative where it grows.

    Closed form for pairs; else all eigenvalues of every system, on the CPU.
    """
    return decay(layer.system(params, drive), r)


def decay(system: System, r: Array) -> Array:
    """As `stability`, of a system."""
    if system.axis is not None:
        gain = split(_gain(system, r), system.axis)
        return -pairs.rightmost(system.weights, gain, system.tau)[0]
    recurrent, tau = _recurrent(system, r)
    matrix = (recurrent - jnp.eye(tau.size, dtype=r.dtype)) / tau[:, None]
    sound = jnp.isfinite(matrix).all((-1, -2))
    values = jnp.linalg.eigvals(jnp.where(sound[..., None, None], matrix, 0))
    return jnp.where(sound, -jnp.max(values.real, axis=-1), -jnp.inf)


def slowest_rates(layer: Layer[Any], params: Any, drive: Array, fp: FixedPoint) -> Array:
    """Decay of the slowest mode, per ms: one per pair, or one for a network's whole batch.

    A network's is that at the mean gain of its batch. Systems that did not converge have no part
    in it: infinity for a pair. Differentiable.
    """
    system = layer.system(params, drive)
    keep = jnp.expand_dims(fp.converged, -1 if system.axis is None else system.axis)
    # A NaN must not enter, or its gradient would be 0 * NaN.
    system = replace(system, drive=jnp.where(keep, system.drive, 0))
    r = jnp.where(keep, fp.r, 0)
    if system.axis is not None:
        return jnp.where(fp.converged, decay(system, r), jnp.inf)
    gain = jnp.where(keep, _gain(system, r), 0).reshape(-1, r.shape[-1])
    mean = jnp.sum(gain, axis=0) / jnp.maximum(jnp.sum(keep), 1)
    matrix = mean[:, None] * system.weights - jnp.eye(len(mean), dtype=mean.dtype)
    found: Array = -leading(matrix / system.tau[:, None])
    return found


def stability_penalty(
    layer: Layer[Any], params: Any, drive: Array, fp: FixedPoint, *, slowest: float = SLOWEST
) -> Array:
    """`slowness` of a layer: zero where it is well damped. Differentiable."""
    return slowness(slowest_rates(layer, params, drive, fp), slowest=slowest)


def slowness(rho: Array, *, slowest: float = SLOWEST) -> Array:
    """`mean relu(1 - rho / slowest)^2` of the `slowest_rates` rho, per ms.

    It replaces the paper's dx term, which asks that 300 Euler steps have settled: that is zero for
    a well damped network too, but explodes near marginal stability.
    """
    return jnp.sum(jnp.square(jax.nn.relu(1 - rho / slowest))) / max(rho.size, 1)


def leading(matrix: Array) -> Array:
    """Largest real part of the eigenvalues of a real `(n, n)` matrix, differentiable.

    A vector is followed through `exp(t matrix)`, another back through its transpose: the logarithm
    of the first grows by the largest real part, whose slope is the mean of their outer products.
    Where one or two modes lead, the eigenvalue of the 2x2 matrix on them is exact and taken
    instead. That the modes of a layer lie close together and far from orthogonal does no harm.
    """
    n = matrix.shape[0]
    if n == 1:
        return matrix[0, 0]
    fixed = jax.lax.stop_gradient(matrix)
    step = 1 / jnp.maximum(jnp.max(jnp.sum(jnp.abs(fixed), axis=-1)), np.finfo(fixed.dtype).tiny)
    scaled = step * fixed
    square = scaled @ scaled
    power = jnp.eye(n, dtype=fixed.dtype) + scaled + square / 2 + square @ scaled / 6

    # Loops rather than their bodies in a row: XLA compiles each once.
    def double(_: int, state: tuple[Array, Array]) -> tuple[Array, Array]:
        power, size = state
        power = power @ power
        largest = jnp.max(jnp.abs(power))
        return power / largest, 2 * size + jnp.log(largest)

    power, size = jax.lax.fori_loop(0, _SQUARINGS, double, (power, jnp.zeros((), fixed.dtype)))

    def turn(sides: Array, _: None) -> tuple[Array, tuple[Array, Array]]:
        turned = both @ sides
        return jax.vmap(_orthonormal)(turned), (sides, jnp.linalg.norm(turned[0, :, 0]))

    place = jnp.arange(n, dtype=fixed.dtype)
    start = _orthonormal(jnp.stack([1 + 0.1 * jnp.cos(place), jnp.sin(place + 1)], -1))
    both = jnp.stack([power, power.T])
    last, (sides, norms) = jax.lax.scan(turn, jnp.stack([start, start]), length=_PASSES)
    duration = step * 2**_SQUARINGS
    late = _PASSES // 2
    growth = (size + jnp.mean(jnp.log(norms[late:]))) / duration
    outer = jnp.einsum("ki,kj->kij", sides[late:, 1, :, 0][::-1], sides[late:, 0, :, 0])
    weight = jnp.trace(outer, axis1=1, axis2=2)
    usable = jnp.abs(weight) > np.sqrt(np.finfo(fixed.dtype).eps)
    shares = jnp.where(usable, 1 / jnp.where(usable, weight, 1), 0)
    slope = jnp.einsum("kij,k->ij", outer, shares) / jnp.maximum(jnp.sum(usable), 1)
    robust = growth + jnp.sum(slope * (matrix - fixed))
    exact = _of_two(matrix, *last)
    agree = jnp.abs(exact - growth) < 3 / (duration * (_PASSES - late))
    return jnp.where(agree, exact, robust)


def _of_two(matrix: Array, right: Array, left: Array) -> Array:
    """The larger real part on two directions, `(n, 2)` from either side."""
    overlap = left.T @ right
    seen = left.T @ (matrix @ right)
    det = overlap[0, 0] * overlap[1, 1] - overlap[0, 1] * overlap[1, 0]
    # Where one mode leads by far, the second direction is what is left of the others.
    safe = jnp.where(jnp.abs(det) > 1e-12, det, 1)
    adjugate = jnp.array([[overlap[1, 1], -overlap[0, 1]], [-overlap[1, 0], overlap[0, 0]]])
    small = adjugate @ seen / safe
    half, spread = (small[0, 0] + small[1, 1]) / 2, (small[0, 0] - small[1, 1]) / 2
    discriminant = spread**2 + small[0, 1] * small[1, 0]
    real = discriminant > 0
    found: Array = half + jnp.where(real, jnp.sqrt(jnp.where(real, discriminant, 1)), 0)
    return found


def _orthonormal(x: Array) -> Array:
    """The two columns of `(n, 2)`, orthonormal."""
    first = x[:, 0] / jnp.maximum(jnp.linalg.norm(x[:, 0]), np.finfo(x.dtype).tiny)
    second = x[:, 1] - first * (first @ x[:, 1])
    second = second - first * (first @ second)
    second = second / jnp.maximum(jnp.linalg.norm(second), np.finfo(x.dtype).tiny)
    return jnp.stack([first, second], -1)


def _gain(system: System, r: Array) -> Array:
    return system.law.gain(system.inputs(r))


def _recurrent(system: System, r: Array) -> tuple[Array, Array]:
    """`S W` as matrices, and tau by cell."""
    gain = _gain(system, r)
    if system.axis is None:
        return gain[..., None] * system.weights, system.tau
    by_cell = jnp.moveaxis(gain, system.axis, -1)
    weights = jnp.moveaxis(system.weights, (0, 1), (-2, -1))
    return by_cell[..., None] * weights, system.tau
