"""Trajectories: the rate equation integrated in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.solvers.euler import euler_step
from bioviz_ssn.steady_state import Layer


class Trajectory(NamedTuple):
    """Times `(steps + 1,)` in ms and rates `(steps + 1, ...)` in hertz, the start included."""

    times: Array
    r: Array


def simulate(
    layer: Layer[Any],
    params: Any,
    drive: Array | Callable[[Array], Array],
    *,
    steps: int,
    dt: float = 1.0,
    r0: Array | None = None,
) -> Trajectory:
    """Integrate `tau dr/dt = phi(W r + h) - r` by Euler steps of `dt` ms, from rest or `r0`.

    `drive` is constant or a function of time in ms. `steps * dt` is the duration. Rates may grow
    without bound where excitation wins: for steady states use `fixed_point`.
    """
    if steps < 1 or not 0 < dt < float("inf"):
        raise ParameterError(f"steps and dt must be positive, got {steps} steps of {dt} ms")
    at: Callable[[Array], Array]
    at = drive if callable(drive) else lambda time: drive
    times = dt * jnp.arange(steps + 1)
    first = layer.system(params, at(times[0]))
    start = jnp.zeros_like(first.drive) if r0 is None else jnp.asarray(r0, first.drive.dtype)

    def advance(r: Array, time: Array) -> tuple[Array, Array]:
        system = layer.system(params, at(time))
        r = euler_step(r, system.inputs(r), system.times(), system.law, dt)
        return r, r

    _, later = jax.lax.scan(advance, start, times[:-1])
    return Trajectory(times, jnp.concatenate([start[None], later]))
