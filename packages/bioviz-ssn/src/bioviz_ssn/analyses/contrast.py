"""Contrast response: how steeply rates grow with the strength of one stimulus."""

from __future__ import annotations

from collections.abc import Mapping
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

CONTRASTS = tuple(np.geomspace(1, 50, 25).tolist())


def contrast_response(
    model: Layer[Any],
    params: Any,
    pattern: ArrayLike,
    *,
    contrasts: ArrayLike = CONTRASTS,
    cells: Mapping[str, int] | None = None,
) -> Result:
    """Rates for the drive `contrast * pattern (cells,)`, and their exponents d ln r / d ln c.

    `cells` names those to report on; by default the most driven of the first half of the cells, E,
    and of the second, I. Arrays `contrasts`, `rates` and `exponents (contrasts, names)`. Scalars
    by name: `peak_exponent_E`, and `crossing_E`, the contrast where the exponent falls through 1
    and supralinear growth becomes sublinear; NaN where it does not.
    """
    shape, c = np.asarray(pattern, float), np.asarray(contrasts, float)
    if c.ndim != 1 or len(c) < 2 or not (c[0] > 0 and (np.diff(c) > 0).all()):
        raise ParameterError(f"contrasts must be at least two, positive and rising, got {c}")
    half = len(shape) // 2
    if cells is None:
        cells = {"E": int(shape[:half].argmax()), "I": half + int(shape[half:].argmax())}
    drives, chosen = c[:, None] * shape, list(cells.values())
    everything = steady_rates(model, params, drives)
    rates = everything[:, chosen]
    if not (rates > 0).all():
        raise ParameterError(f"a cell of {dict(cells)} is silent, so its rate has no exponent")
    # dr / dc = (I - S W)^-1 S pattern, exactly.
    weights, gain, _ = linearized(model.system(params, jnp.asarray(drives)), everything)
    matrix = np.eye(len(shape)) - gain[..., None] * weights
    slopes = np.linalg.solve(matrix, (gain * shape)[..., None])[..., 0]
    exponents = c[:, None] * slopes[:, chosen] / rates
    scalars = {}
    for name, exponent in zip(cells, exponents.T, strict=True):
        scalars[f"peak_exponent_{name}"] = float(exponent.max())
        scalars[f"crossing_{name}"] = _crossing(c, exponent)

    def draw(ax: Axes) -> None:
        for name, r in zip(cells, rates.T, strict=True):
            is_e = name.startswith("E")
            ax.plot(c, r, "-" if is_e else "--", color=EXCITATORY if is_e else INHIBITORY)
            ax.annotate(name, (c[-1], r[-1]), (3, 0), textcoords="offset points", va="center")
        guide = rates[0, 0] * (c / c[0]) ** 2
        ax.plot(c[: len(c) // 2], guide[: len(c) // 2], color=REFERENCE, lw=0.8, dashes=(4, 2))
        ax.set(xscale="log", yscale="log", xlabel="contrast", ylabel="rate (Hz)")

    return Result(scalars, {"contrasts": c, "rates": rates, "exponents": exponents}, draw)


def _crossing(contrasts: np.ndarray, exponent: np.ndarray) -> float:
    """The last contrast at which the exponent falls through 1, by interpolation in ln c."""
    falls = np.flatnonzero((exponent[:-1] > 1) & (exponent[1:] <= 1))
    if not len(falls):
        return float("nan")
    i = falls[-1]
    share = (exponent[i] - 1) / (exponent[i] - exponent[i + 1])
    return float(np.exp((1 - share) * np.log(contrasts[i]) + share * np.log(contrasts[i + 1])))
