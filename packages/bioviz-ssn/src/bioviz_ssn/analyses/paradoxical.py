"""The paradoxical effect: driving inhibitory cells lowers their rates where they stabilize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from bioviz_core.interfaces import Result
from numpy.typing import ArrayLike

from bioviz_ssn.analyses.operating_point import (
    EXCITATORY,
    INHIBITORY,
    REFERENCE,
    linearized,
    steady_rates,
)
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.steady_state import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STEP = 1e-4
"""Of the drive: central differences are then exact to about 1e-8 in float64."""


def paradoxical_scan(
    model: Layer[Any], params: Any, drives: ArrayLike, *, step: float = STEP
) -> Result:
    """What more input to all I cells does at each of `drives (inputs, cells)`, E before I.

    By central differences of steady states: `inhibitory_slope (inputs,)` is d(mean r_I) / dh_I and
    `excitatory_slope` that of E. `excitatory_gain` is the leading eigenvalue of S_E W_EE, for two
    cells s_E W_EE: the I slope is negative exactly where it passes 1, in a stable pair. Also
    `rates (inputs, cells)`. Scalar `paradoxical`, the share of inputs with a negative I slope.
    Differences need float64: `ParameterError` for a network of float32.
    """
    given = jnp.atleast_2d(jnp.asarray(drives))
    if (dtype := model.system(params, given).weights.dtype) != np.float64:
        raise ParameterError(
            f"differences of steady states need float64, the network is {dtype}: make and scan it "
            "within jax.enable_x64(True)"
        )
    half = given.shape[-1] // 2
    push = np.zeros(given.shape[-1])
    push[half:] = step
    rates, up, down = np.moveaxis(
        steady_rates(model, params, given[:, None] + np.array([0, 1, -1])[:, None] * push), 1, 0
    )
    change = (up - down) / (2 * step)
    e, i = change[:, :half].mean(-1), change[:, half:].mean(-1)
    weights, gain, _ = linearized(model.system(params, given), rates)
    alone = gain[:, :half, None] * weights[:half, :half]
    leading = np.linalg.eigvals(alone).real.max(-1)

    def draw(ax: Axes) -> None:
        ax.axhline(0, color=REFERENCE, lw=0.8, dashes=(4, 2))
        ax.axvline(1, color=REFERENCE, lw=0.8, dashes=(4, 2))
        ax.plot(leading, e, ".", color=EXCITATORY, label="E")
        ax.plot(leading, i, ".", color=INHIBITORY, mfc="none", label="I")
        ax.legend()
        ax.set(xlabel="gain of the E cells alone", ylabel="change of rate (Hz per unit)")

    arrays = {
        "rates": rates, "inhibitory_slope": i, "excitatory_slope": e, "excitatory_gain": leading,
    }  # fmt: skip
    return Result({"paradoxical": float((i < 0).mean())}, arrays, draw)
