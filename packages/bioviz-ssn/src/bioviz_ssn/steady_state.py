"""Steady states of a layer, with implicit gradients whose memory does not grow with steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Literal, NamedTuple, Protocol, TypeVar, get_args

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.bridge.jax import is_quick, jit
from jax import Array

from bioviz_ssn.errors import FixedPointError, ParameterError
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.solvers import chord, euler, linear, newton, pairs
from bioviz_ssn.solvers.pairs import Pair
from bioviz_ssn.solvers.solution import Solution

Solver = Literal["auto", "euler", "pairs", "chord", "newton"]
P = TypeVar("P", contravariant=True)

FEW_CELLS = 32
"""Up to here every network of a batch gets its own LU; above, the batch shares one."""
EULER_STEPS = 100_000
STEPS = 400


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class System:
    """The equations `tau dr/dt = phi(W r + h) - r` of a batch of networks that share `W`.

    Either networks of all cells: `weights (cells, cells)`, `drive (..., cells)`, `tau (cells,)`.
    Or, with `axis`, independent pairs of an E and an I cell, which are told apart along that
    negative axis of the drive: `weights (2, 2, *points)`, points being the axes behind it, and
    `tau (2,)`. `drive` is all of h, baselines included.
    """

    weights: Array
    drive: Array
    tau: Array
    law: PowerLaw = field(metadata={"static": True})
    axis: int | None = field(default=None, metadata={"static": True})

    def inputs(self, r: Array) -> Array:
        """`u = W r + h`, for rates of the drive's shape."""
        if self.axis is None:
            return r @ self.weights.T + self.drive
        u = pairs.inputs(self.weights, split(self.drive, self.axis), split(r, self.axis))
        return jnp.stack(u, self.axis)

    def times(self) -> Array:
        """`tau`, in a shape that broadcasts against rates."""
        return self.tau if self.axis is None else self.tau.reshape(2, *[1] * (-1 - self.axis))


class Layer(Protocol[P]):
    """A recurrent layer: parameters and an input make a `System`."""

    def system(self, params: P, drive: Array, /) -> System:
        """The equations for this input."""


class FixedPoint(NamedTuple):
    """Steady rates `r`, in hertz, and how each independent system got there.

    `residual` is `max |phi(W r + h) - r|` in hertz, `steps` counts iterations. A system that did
    not converge keeps its last rates and has a gradient of zero; `diverged` marks those that ran
    away or had an input that is not finite. `stable` is None unless asked for.
    """

    r: Array
    residual: Array
    converged: Array
    steps: Array
    diverged: Array
    stable: Array | None = None

    @property
    def n_unconverged(self) -> Array:
        """How many systems did not converge."""
        return jnp.sum(~self.converged)


class _Settings(NamedTuple):
    solver: Solver
    tol: float
    max_steps: int
    law: PowerLaw
    axis: int | None
    dt: float


def fixed_point(
    layer: Layer[Any],
    params: Any,
    drive: Array,
    *,
    solver: Solver = "auto",
    tol: float | None = None,
    max_steps: int | None = None,
    dt: float = 1.0,
    r0: Array | None = None,
    throw: bool = False,
    with_stability: bool = False,
) -> FixedPoint:
    """The steady state `r = phi(W r + h)` that a layer reaches from rest, or from `r0`.

    A system has converged when its residual is at most `tol (1 + max r)`; `tol` defaults to 1e-12
    in float64 and to 1e-5 in float32, where rounding allows no less. "auto" takes closed forms for
    pairs, an LU per system for up to 32 cells and one shared LU above; "euler" steps of `dt` ms
    are slow and follow the equations. Differentiable with respect to `params` and `drive`, not to
    `r0`. Outside jit a NaN in the input is a `ParameterError`, and with `throw` anything that did
    not converge a `FixedPointError`; inside, `converged` tells.
    """
    system = layer.system(params, drive)
    if solver not in get_args(Solver):
        raise ParameterError(f"solver must be one of {get_args(Solver)}, got {solver!r}")
    if solver == "auto":
        few = system.weights.shape[0] <= FEW_CELLS
        solver = "pairs" if system.axis is not None else "newton" if few else "chord"
    elif (solver == "pairs") is (system.axis is None) and solver != "euler":
        raise ParameterError(f"solver {solver!r} does not fit {type(layer).__name__}: take 'auto'")
    if not (tol is None or 0 < tol < 1):
        raise ParameterError(f"tol must be between 0 and 1, got {tol}; 1e-6 is typical")
    if not 0 < dt < np.inf:
        raise ParameterError(f"dt must be positive, got {dt} ms")
    _check_shapes(system, r0)
    concrete = not any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves((system, r0)))
    if concrete:
        for name, array in (("weights", system.weights), ("drive", system.drive), ("r0", r0)):
            # In NumPy: each shape would be compiled anew for this.
            if array is not None and not np.isfinite(np.asarray(array)).all():
                raise ParameterError(f"{name} holds NaN or infinity: check the input or parameters")
    dtype = jnp.result_type(system.weights, system.drive)
    finest = 1e-12 if dtype == jnp.float64 else 1e-5
    settings = _Settings(
        solver,
        finest if tol is None else max(tol, finest),
        (EULER_STEPS if solver == "euler" else STEPS) if max_steps is None else max_steps,
        system.law,
        system.axis,
        dt,
    )
    rest = np.zeros(system.drive.shape, dtype)
    start = jnp.asarray(rest if r0 is None else r0, dtype)
    arrays = (x.astype(dtype) for x in (system.weights, system.drive, system.tau))
    # Options of the compiler are for functions that no other compiled function calls.
    r, *info = (_alone(is_quick()) if concrete else _solve)(settings, *arrays, start)
    fp = FixedPoint(r, *info)
    if with_stability:
        from bioviz_ssn.linearization import decay

        fp = fp._replace(stable=fp.converged & (decay(system, r) > 0))
    if throw:
        if not concrete:
            raise ParameterError("throw=True works outside jit only; inside, read `converged`")
        _throw(fp)
    return fp


def _check_shapes(system: System, r0: Array | None) -> None:
    weights, drive = system.weights, system.drive
    if system.axis is None:
        cells = weights.shape[0]
        fits = weights.shape == (cells, cells) and drive.shape[-1:] == (cells,)
    else:
        points = drive.shape[drive.ndim + system.axis + 1 :]
        fits = weights.shape == (2, 2, *points) and drive.shape[system.axis] == 2
    if not fits:
        raise ParameterError(f"a drive of {drive.shape} does not fit weights of {weights.shape}")
    if r0 is not None and jnp.shape(r0) != drive.shape:
        raise ParameterError(f"r0 must have the drive's shape {drive.shape}, got {jnp.shape(r0)}")


def _throw(fp: FixedPoint) -> None:
    converged = np.asarray(fp.converged)
    if converged.all():
        return
    residual = np.where(converged, 0, np.nan_to_num(np.asarray(fp.residual), nan=np.inf))
    worst = tuple(int(k) for k in np.unravel_index(np.argmax(residual), residual.shape))
    raise FixedPointError(
        int((~converged).sum()),
        converged.size,
        diverged=int(np.asarray(fp.diverged).sum()),
        worst=worst,
        residual=float(residual[worst]),
    )


def split(x: Array, axis: int) -> Pair:
    """The E and the I part of an array, told apart along `axis`."""
    return Pair(jnp.take(x, 0, axis), jnp.take(x, 1, axis))


Info = tuple[Array, Array, Array, Array, Array]


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _implicit(settings: _Settings, weights: Array, drive: Array, tau: Array, start: Array) -> Info:
    return _forward(settings, weights, drive, tau, start)[0]


def _forward(
    settings: _Settings, weights: Array, drive: Array, tau: Array, start: Array
) -> tuple[Info, tuple[Any, ...]]:
    """The fixed point, and what the gradient needs of it."""
    solver, tol, steps, law, axis, dt = settings
    system = System(weights, drive, tau, law, axis)
    options: dict[str, Any] = {"tol": tol, "max_steps": steps}
    shared: tuple[Array, Array] | None = None
    cells = drive.shape[-1]
    if drive.size == 0:
        systems = jnp.sum(drive, axis=-1 if axis is None else axis)
        none = systems.astype(jnp.int32)
        found = Solution(start, systems, none, none > 0)
    elif axis is not None:
        if solver == "euler":
            found = _euler_pairs(system, start, dt=dt, tol=tol, max_steps=steps)
        else:
            pair = pairs.solve(
                weights, split(drive, axis), tau, law, start=split(start, axis), **options
            )
            found = pair._replace(r=jnp.stack(pair.r, axis))
    else:
        flat, r = drive.reshape(-1, cells), start.reshape(-1, cells)
        if solver == "euler":
            inputs = System(weights, flat, tau, law).inputs
            found = euler.solve(inputs, r, tau, law, dt=dt, **options)
        elif solver == "newton":
            finite = jnp.isfinite(flat).all(-1) & jnp.isfinite(weights).all()
            clean = jnp.where(jnp.isfinite(weights), weights, 0)

            def one(h: Array, r: Array) -> Solution:
                return newton.solve(clean, h, r, tau, law, **options)

            found = jax.vmap(one)(jnp.where(finite[:, None], flat, 0), r)
            residual = jnp.where(finite, found.residual, jnp.inf)
            found = found._replace(residual=residual, diverged=found.diverged | ~finite)
        else:
            found, *mean = chord.solve(weights, flat, r, tau, law, **options)
            shared = (mean[0], mean[1])
        batch = drive.shape[:-1]
        found = Solution(found.r.reshape(drive.shape), *(x.reshape(batch) for x in found[1:]))
    # Without it XLA may compute the last step again for each use, with other roundings: then no
    # cell's rate equals the maximum that is taken of them, and the maximum's gradient is 0 / 0.
    found = jax.lax.optimization_barrier(found)  # type: ignore[no-untyped-call]  # JAX's own
    # A rate that is not finite has an infinite residual and an infinite bound.
    peak = jnp.max(found.r, axis=-1 if axis is None else axis, initial=0)
    converged = (found.residual <= tol * (1 + peak)) & (peak < jnp.inf) & ~found.diverged
    info = (found.r, found.residual, converged, found.steps, found.diverged)
    return info, (weights, drive, tau, start, found.r, converged, shared)


def _euler_pairs(
    system: System, start: Array, *, dt: float, tol: float, max_steps: int
) -> Solution:
    """Pairs as systems of two cells, for plain Euler steps."""
    axis = system.axis
    assert axis is not None
    shape = jnp.moveaxis(system.drive, axis, -1).shape
    moved = System(system.weights, system.drive, system.tau, system.law, axis)

    def inputs(r: Array) -> Array:
        u = moved.inputs(jnp.moveaxis(r.reshape(shape), -1, axis))
        return jnp.moveaxis(u, axis, -1).reshape(-1, 2)

    r = jnp.moveaxis(start, axis, -1).reshape(-1, 2)
    found = euler.solve(inputs, r, system.tau, system.law, dt=dt, tol=tol, max_steps=max_steps)
    rates = jnp.moveaxis(found.r.reshape(shape), -1, axis)
    return Solution(rates, *(x.reshape(shape[:-1]) for x in found[1:]))


def _fwd(settings: _Settings, *arrays: Array) -> tuple[Info, tuple[Any, ...]]:
    return _forward(settings, *arrays)


def _bwd(settings: _Settings, saved: tuple[Any, ...], cotangents: Info) -> tuple[Array, ...]:
    """`dL/dh = S (I - S W)^-T dL/dr` and `dL/dW = dL/dh r^T`, summed over the batch."""
    weights, drive, tau, start, r, converged, shared = saved
    law, axis = settings.law, settings.axis
    gain = law.gain(System(weights, drive, tau, law, axis).inputs(r))
    if axis is not None:
        pulled = Pair(*(jnp.where(converged, x, 0) for x in split(cotangents[0], axis)))
        worth = pairs.adjoint(weights, split(gain, axis), pulled)
        # Not 0 * NaN: a system that did not converge may hold anything.
        worth = Pair(*(jnp.where(converged, x, 0) for x in worth))
        lead = tuple(range(worth.e.ndim - (weights.ndim - 2)))
        sources = Pair(*(jnp.where(converged, x, 0) for x in split(r, axis)))
        to_weights = jnp.stack([jnp.stack([jnp.sum(x * y, lead) for y in sources]) for x in worth])
        to_drive = jnp.stack(worth, axis)
    else:
        cells = drive.shape[-1]
        keep = converged.reshape(-1, 1)
        gain, g, rates = (
            jnp.where(keep, x.reshape(-1, cells), 0) for x in (gain, cotangents[0], r)
        )
        clean = jnp.where(jnp.isfinite(weights), weights, 0)
        if shared is None and cells <= FEW_CELLS:
            matrices = jnp.eye(cells, dtype=gain.dtype) - gain[..., None] * clean
            solved = jax.vmap(lambda a, b: linear.solve(a.T, b[:, None])[0][:, 0])(matrices, g)
            flat = gain * jnp.where(jnp.isfinite(solved), solved, 0)
        else:
            if shared is None:
                mean = jnp.sum(gain, 0) / jnp.maximum(jnp.sum(keep), 1)
                shared = (mean, chord.dress(clean, mean)[0])
            flat = chord.adjoint(clean, gain, g, *shared)
        to_weights, to_drive = flat.T @ rates, flat.reshape(drive.shape)
    return to_weights, to_drive, jnp.zeros_like(tau), jnp.zeros_like(start)


_implicit.defvjp(_fwd, _bwd)
# Compiled here, or every call outside jit would trace its loops anew.
_solve = jax.jit(_implicit, static_argnums=0)


@lru_cache(maxsize=2)
def _alone(quick: bool) -> Callable[..., Info]:
    """The same outside jit, and once more for `quick_compilation`, which is then in force."""
    return jit(_implicit, static_argnums=0) if quick else _solve
