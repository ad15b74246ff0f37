"""Orientation tuning of every cell of the two-layer model, and the features of tuning curves."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from bioviz_core.analyses.responses import average, given
from bioviz_core.analyses.tuning import orientation_tuning
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result
from jax import Array
from numpy.typing import ArrayLike
from scipy.interpolate import CubicSpline

from bioviz_ssn.analyses.operating_point import EXCITATORY
from bioviz_ssn.connectivity import TRAINED
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.gabor import GaborBank, expand
from bioviz_ssn.models.two_layer import TwoLayerFixedPoint, TwoLayerSSN
from bioviz_ssn.parameters import SSNParams
from bioviz_ssn.steady_state import fixed_point
from bioviz_ssn.stimuli import GRAY, OPAQUE, SCALE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

DIRECTIONS = tuple(range(0, 360, 5))
"""Degrees of the gratings that tuning is measured with."""
FINE = 0.2
"""Degrees between the points of an interpolated curve."""
UNTRAINED = 125.0


def tuning_curves(
    model: TwoLayerSSN, params: SSNParams, *, orientations: ArrayLike = DIRECTIONS
) -> Result:
    """Rates of all cells for noise-free gratings that fill the field: a measure of the model.

    Each cell sees gratings with its own phase at its own centre, a middle cell the phase of its
    filter, a superficial cell 0; all other cells see them too. Array `orientations`, and
    `middle (orientations, phases * 2 * points)` and `superficial (orientations, 2 * points)` in
    the order of the model's rates, with the kappas of `params`; scalar `unconverged` counts steady
    states that were not reached. Gratings of any phase are made of two, before their pixels are
    rounded, which changes a drive of 28 by 0.02.
    """
    if model.bank is None:
        raise ParameterError("tuning curves need a model with a filter bank, this one has none")
    bank, angles = model.bank, np.asarray(orientations, float)
    even, odd = (_unrounded(bank, angles, phase) for phase in (0.0, np.pi / 2))
    shift = _phase_at(model, bank.spec.frequency, angles)  # (orientations, points)

    def drive(turn: np.ndarray) -> Array:
        # cos(w + t) = cos(t) cos(w) + sin(t) cos(w + 90 degrees)
        made = np.cos(turn) * even + np.sin(turn) * odd
        return expand(jnp.asarray(made, bank.basis.dtype), bank.gains)

    phases = 2 * bank.coefficients.shape[0]
    own = [drive(2 * np.pi * p / phases - shift[:, None])[:, p] for p in range(phases)]
    middle = fixed_point(model.middle, params.middle, jnp.stack(own, 1))
    rates, lost = [], int(middle.n_unconverged)
    fp = _settle(model, params, drive(-shift[:, :1, None]), None)
    for k in range(shift.shape[1]):
        # Neighbours' rates differ little: from these the shared factorization converges at once.
        fp = _settle(model, params, drive(-shift[:, k, None, None]), fp)
        lost += int(fp.n_unconverged)
        rates.append(np.asarray(fp.superficial.r).reshape(len(angles), 2, -1)[:, :, k])
    arrays = {
        "orientations": angles,
        "middle": np.asarray(middle.r).reshape(len(angles), -1),
        "superficial": np.stack(rates, -1).reshape(len(angles), -1),
    }
    notes = (f"{lost} steady states were not reached",) * bool(lost)
    center = shift.shape[1] // 2

    def draw(ax: Axes) -> None:
        ax.plot(angles, arrays["superficial"][:, center], color=EXCITATORY, label="superficial")
        ax.plot(angles, arrays["middle"][:, center], "--", color=EXCITATORY, label="middle")
        ax.legend()
        ax.set(xlabel="direction (degrees)", ylabel="E rate at the centre (Hz)", ylim=(0, None))

    return Result({"unconverged": float(lost)}, arrays, draw, notes)


def _unrounded(bank: GaborBank, angles: np.ndarray, phase: float) -> np.ndarray:
    """Responses to full-field gratings, `(orientations, phases / 2, points)`, without the floor."""
    spec, t = bank.spec, np.deg2rad(angles)[:, None, None]
    x, y = spec.line[:, None], spec.line
    wave = 2 * np.pi * spec.frequency * (x * np.cos(t) + y * np.sin(t)) + phase
    found: np.ndarray = bank.responses(SCALE * OPAQUE * GRAY * spec.contrast * np.cos(wave))
    return found


def _phase_at(model: TwoLayerSSN, frequency: float, angles: np.ndarray) -> np.ndarray:
    """Phase of a grating at each point's centre, `(orientations, points)`."""
    x, y = (axis.ravel() / model.grid.magnification for axis in model.grid.coordinates)
    t = np.deg2rad(angles)[:, None]
    phase: np.ndarray = 2 * np.pi * frequency * (x * np.cos(t) + y * np.sin(t))
    return phase


def _settle(
    model: TwoLayerSSN, params: SSNParams, drive: Array, near: TwoLayerFixedPoint | None
) -> TwoLayerFixedPoint:
    if near is None:
        return model.fixed_point_from_drive(params, drive, solver="euler")
    start = near.middle.r, near.superficial.r
    return model.fixed_point_from_drive(params, drive, r0=start)


class TuningFeatures:
    """Shape of tuning curves by cell, as the V1 perceptual-learning model reports them."""

    needs = ("orientations", "curves")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Features of `curves (orientations, cells)` at evenly spread `orientations` over 360.

        Between them a cubic, periodic spline is evaluated every 0.2 degrees. By cell: `fwhm`, of
        the curve above its minimum, the longest run above half its maximum; `pref_ori` in degrees,
        of the largest value of the first half turn; `max`, `min`, `mean`, `std`; `modulation`
        (max - min) / max; `slope_55`, `slope_125` and `slope_half` (the steepest at half maximum)
        of the curve over its maximum, per degree; `osi` and `dsi` of core. A flat curve has NaN.
        """
        angles, curves = given(data, "orientations"), np.asarray(given(data, "curves"), float)
        found = features(angles, curves)
        flat = int(np.isnan(found["fwhm"]).sum())

        def draw(ax: Axes) -> None:
            ax.plot(found["pref_ori"], found["fwhm"], ".", color="#1B1F24", rasterized=True)
            ax.set(xlabel="preferred orientation (degrees)", ylabel="width (degrees)")

        scalars = {name: average(values, np.median) for name, values in found.items()}
        return Result(scalars, found, draw, (f"{flat} cells have a flat curve",) * bool(flat))


def features(angles: np.ndarray, curves: np.ndarray) -> dict[str, np.ndarray]:
    """As `TuningFeatures`, each `(cells,)`."""
    if curves.ndim != 2 or len(curves) != len(angles):
        raise DataError(f"curves must be ({len(angles)}, cells), got {curves.shape}")
    step = 360 / len(angles)
    if not np.allclose(angles, angles[0] + step * np.arange(len(angles))):
        raise DataError(f"orientations must be evenly spread over 360 degrees, got {angles}")
    period = np.append(angles, angles[0] + 360)
    spline = CubicSpline(period, np.vstack([curves, curves[:1]]), bc_type="periodic")
    fine = np.arange(0, 360, FINE)
    curve = spline(fine)
    top, bottom = curve.max(0), curve.min(0)
    varies = top - bottom > 1e-9 * np.maximum(np.abs(top), 1e-30)
    scale = np.where(varies & (top > 0), top, np.nan)
    slope = np.gradient(np.vstack([curve[-1:], curve, curve[:1]]), FINE, axis=0)[1:-1] / scale
    above = (curve - bottom) >= (top - bottom) / 2
    edge = above ^ np.roll(above, 1, axis=0)
    core = orientation_tuning(angles, np.maximum(curves, 0))
    return {
        "fwhm": np.where(varies, FINE * _longest_run(above), np.nan),
        "pref_ori": np.where(varies, fine[curve[fine < 180].argmax(0)], np.nan),
        "max": top,
        "min": bottom,
        "mean": curve.mean(0),
        "std": curve.std(0),
        "modulation": (top - bottom) / scale,
        "slope_55": slope[round(TRAINED / FINE)],
        "slope_125": slope[round(UNTRAINED / FINE)],
        "slope_half": np.abs(np.where(edge, slope, 0)).max(0),
        "osi": core.osi,
        "dsi": core.dsi,
    }


def _longest_run(above: np.ndarray) -> np.ndarray:
    """Length of the longest run of True in each column, the end joining the beginning."""
    count = len(above)
    twice = np.concatenate([above, above])
    place = np.arange(2 * count)[:, None]
    last_false = np.maximum.accumulate(np.where(twice, -1, place), axis=0)
    return np.asarray(np.minimum((place - last_false).max(0), count))
