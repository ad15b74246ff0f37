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

from bioviz_ssn.fixed_point import FixedPoint, Layer, System, split
from bioviz_ssn.solvers import pairs

SLOWEST = 0.01
"""Decay per ms below which a mode counts as slow: a time constant of 100 ms."""

_SQUARINGS = 7
_PASSES = 6


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


def stability_penalty(
    layer: Layer[Any], params: Any, drive: Array, fp: FixedPoint, *, slowest: float = SLOWEST
) -> Array:
    """`mean relu(1 - rho / slowest)^2`, rho being the decay of the slowest mode, per ms.

    It replaces the paper's dx term, which asks that 300 Euler steps have settled: that is zero for
    a well damped network too, but explodes near marginal stability. One rho per pair; a network
    has one, at the mean gain of its batch. Systems that did not converge have no part in it.
    Differentiable.
    """
    system = layer.system(params, drive)
    keep = jnp.expand_dims(fp.converged, -1 if system.axis is None else system.axis)
    # A NaN must not enter, or its gradient would be 0 * NaN.
    system = replace(system, drive=jnp.where(keep, system.drive, 0))
    r = jnp.where(keep, fp.r, 0)
    if system.axis is not None:
        excess = jnp.square(jax.nn.relu(1 - decay(system, r) / slowest))
        return jnp.sum(jnp.where(fp.converged, excess, 0)) / max(excess.size, 1)
    gain = jnp.where(keep, _gain(system, r), 0).reshape(-1, r.shape[-1])
    mean = jnp.sum(gain, axis=0) / jnp.maximum(jnp.sum(keep), 1)
    matrix = mean[:, None] * system.weights - jnp.eye(len(mean), dtype=mean.dtype)
    rho = -leading(matrix / system.tau[:, None])
    return jnp.square(jax.nn.relu(1 - rho / slowest))


def leading(matrix: Array) -> Array:
    """Largest real part of the eigenvalues of a real `(n, n)` matrix, differentiable.

    Its two leading right and left directions come from powers of `exp(matrix)`, by squaring; on
    them the eigenvalues are those of a 2x2 matrix, whose first-order change is exact.
    """
    n = matrix.shape[0]
    if n == 1:
        return matrix[0, 0]
    fixed = jax.lax.stop_gradient(matrix)
    step = 1 / jnp.maximum(jnp.max(jnp.sum(jnp.abs(fixed), axis=-1)), np.finfo(fixed.dtype).tiny)
    scaled = step * fixed
    power = jnp.eye(n, dtype=fixed.dtype) + scaled + scaled @ scaled / 2
    # Loops rather than their bodies in a row: XLA compiles each once.
    power = jax.lax.fori_loop(0, _SQUARINGS, lambda _, p: _scaled(p @ p), power)
    place = jnp.arange(n, dtype=fixed.dtype)
    start = _orthonormal(jnp.stack([1 + 0.1 * jnp.cos(place), jnp.sin(place + 1)], -1))
    both = jnp.stack([power, power.T])
    right, left = jax.lax.fori_loop(
        0, _PASSES, lambda _, x: jax.vmap(_orthonormal)(both @ x), jnp.stack([start, start])
    )
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


def _scaled(x: Array) -> Array:
    return x / jnp.max(jnp.abs(x))


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
