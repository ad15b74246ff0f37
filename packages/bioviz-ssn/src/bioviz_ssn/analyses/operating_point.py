"""Where a network works: its steady rates, and its linearization around them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from bioviz_core.interfaces import Result
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.steady_state import FEW_CELLS, Layer, Solver, System, fixed_point

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXCITATORY, INHIBITORY, REFERENCE = "#C93442", "#005493", "#57606B"
"""Colours of the house: red for E, blue for I, grey for what is compared with."""

SETTLING = 20_000
"""Milliseconds that a large network may take to settle; one that oscillates never does."""

_BATCH, _SMALL_BATCH = 8, 100


def steady_rates(model: Layer[Any], params: Any, drives: ArrayLike) -> np.ndarray:
    """Steady rates for `drives (..., cells)`; `FixedPointError` where one does not settle.

    The drives of an experiment span contrasts and shapes, and the shared factorization of a large
    network pays only for inputs that are alike: there plain Euler steps from rest are faster.
    """
    given: Any = np.asarray(drives)
    rows = given.reshape(-1, given.shape[-1])
    system = model.system(params, rows[:1])
    few = system.axis is not None or given.shape[-1] <= FEW_CELLS
    solver: Solver = "auto" if few else "euler"
    steps = None if few else SETTLING
    size = _SMALL_BATCH if few else _BATCH
    rates = []
    for i in range(0, len(rows), size):
        # Batches of one size are compiled once.
        batch = rows[np.minimum(np.arange(i, i + size), len(rows) - 1)]
        fp = fixed_point(model, params, batch, solver=solver, max_steps=steps, throw=True)
        rates.append(np.asarray(fp.r))
    return np.concatenate(rates)[: len(rows)].reshape(given.shape)


def operating_point(model: Layer[Any], params: Any, drives: ArrayLike) -> Result:
    """The linearization at the steady state of each of `drives (inputs, cells)`.

    Arrays: `rates` and `gain` S = phi'(W r + h), both `(inputs, cells)`; `eigenvalues`
    `(inputs, cells)` of (S W - I) / tau, per ms, the slowest first; `decay (inputs,)`, how fast
    that one decays; and `excitatory_gain (inputs,)`, the leading eigenvalue of S_E W_EE. Where it
    passes 1 the excitatory cells alone would run away: inhibition stabilizes them. For networks of
    cells with E before I, not for layers of many pairs.
    """
    given = jnp.atleast_2d(jnp.asarray(drives))
    rates = steady_rates(model, params, given)
    weights, gain, tau = linearized(model.system(params, given), rates)
    recurrent = gain[..., None] * weights
    modes = np.linalg.eigvals((recurrent - np.eye(len(weights))) / tau[:, None])
    modes = np.take_along_axis(modes, np.argsort(-modes.real, axis=-1), -1)
    e = len(weights) // 2
    alone = np.linalg.eigvals(recurrent[:, :e, :e]).real.max(-1)
    arrays = {
        "rates": rates, "gain": gain, "eigenvalues": modes, "decay": -modes[:, 0].real,
        "excitatory_gain": alone,
    }  # fmt: skip
    scalars = {"slowest": float(-modes.real.max()), "excitatory_gain": float(alone.max())}

    def draw(ax: Axes) -> None:
        ax.plot(modes[-1].real, modes[-1].imag, ".", color="#1B1F24", rasterized=len(weights) > 500)
        ax.axvline(0, color=REFERENCE, lw=0.8, dashes=(4, 2))
        ax.set(xlabel="growth (per ms)", ylabel="rotation (rad per ms)")

    return Result(scalars, arrays, draw)


def linearized(system: System, rates: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Weights `(cells, cells)`, gains `(inputs, cells)` and tau by cell, in NumPy."""
    if system.weights.ndim != 2:
        raise ParameterError(
            "the linearization is of networks of cells; this layer has "
            f"{system.weights.shape[2:]} pairs with weights of their own"
        )
    gain = system.law.gain(system.inputs(jnp.asarray(rates)))
    return np.asarray(system.weights), np.asarray(gain), np.asarray(system.tau)
