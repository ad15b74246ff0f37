"""Tuning of single units: to orientation and direction, and to classes.

An angle is that of the stimulus' modulation in degrees, as in `stimuli.gratings`; direction has
the period 360, orientation 180.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.analyses.responses import features, given
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Tuning:
    """Tuning of each unit, arrays `(units,)`; `angles (n,)` and `curves (n, units)` are the means.

    `osi` and `dsi` are `|sum r e^(2 i t)| / sum r` and `|sum r e^(i t)| / sum r`, one less the
    circular variance, with `preferred_orientation` in [0, 180) and `preferred_direction` in
    [0, 360). `amplitude (2, units)` and `r2 (2, units)` are of the fits `a cos(t + p) + m` and
    `a cos(2 t + p) + m`, `p_value` of the F-test of the better one against a constant;
    `fits_orientation` is where the second is better. Without a full turn of angles what needs
    directions is NaN.
    """

    angles: np.ndarray
    curves: np.ndarray
    preferred_orientation: np.ndarray
    preferred_direction: np.ndarray
    osi: np.ndarray
    dsi: np.ndarray
    amplitude: np.ndarray
    r2: np.ndarray
    p_value: np.ndarray
    fits_orientation: np.ndarray


def orientation_tuning(angles: ArrayLike, responses: np.ndarray) -> Tuning:
    """Tuning from responses `(trials, units)` to stimuli at `angles (trials,)` in degrees.

    The distinct angles must be evenly spread over 180 or 360 degrees, at least five of them, so
    that no direction weighs more than another. Indices of a unit with negative means, which are
    no rates, and of a silent unit are NaN.
    """
    from scipy import stats

    r = features(responses, least=5)
    turned = np.asarray(angles, float).reshape(-1)
    if len(turned) != len(r):
        raise DataError(f"needs one angle per response, got {len(turned)} and {len(r)}")
    distinct, place = np.unique(np.round(turned % 360, 6), return_inverse=True)
    period = _period(distinct)
    counts = np.bincount(place)
    curves = np.stack([np.bincount(place, weights=unit) for unit in r.T], axis=1) / counts[:, None]
    theta = np.deg2rad(distinct)
    direction, orientation = (_resultant(theta * k, curves) for k in (1, 2))
    fits = [_cosine(np.deg2rad(turned) * k, r) for k in (1, 2)]
    amplitude, r2 = (np.stack(values) for values in zip(*fits, strict=True))
    if period == 180:  # a direction and its opposite are one stimulus here
        direction = np.full_like(direction, np.nan)
        amplitude[0], r2[0] = np.nan, np.nan
    better = np.where(np.isnan(r2).all(0), np.nan, np.nanmax(np.nan_to_num(r2, nan=-1), axis=0))
    freedom = len(r) - 3
    ratio = np.divide(better, 1 - better, out=np.full_like(better, np.inf), where=better < 1)
    return Tuning(
        angles=distinct,
        curves=curves,
        preferred_orientation=np.rad2deg(np.angle(orientation)) % 360 / 2,
        preferred_direction=np.rad2deg(np.angle(direction)) % 360,
        osi=np.abs(orientation),
        dsi=np.abs(direction),
        amplitude=amplitude,
        r2=r2,
        p_value=np.where(np.isnan(better), np.nan, stats.f.sf(ratio * freedom / 2, 2, freedom)),
        fits_orientation=np.nan_to_num(r2[1], nan=-1) > np.nan_to_num(r2[0], nan=-1),
    )


def class_selectivity(labels: ArrayLike, responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(index, preferred class)` per unit: `(best - rest) / (best + rest)` of `|r|` by class.

    `best` is the largest class mean, `rest` the mean of the other classes' means: 0 where a unit
    answers all alike, 1 where it answers one only, NaN where it answers none.
    """
    size = np.abs(features(responses, least=2))
    classes, place = np.unique(np.asarray(labels).reshape(-1), return_inverse=True)
    if len(place) != len(size) or len(classes) < 2:
        raise DataError(
            f"needs a label per response and two classes, got {len(place)} labels of "
            f"{len(classes)} classes for {len(size)} responses"
        )
    means = np.stack([size[place == number].mean(0) for number in range(len(classes))])
    best = means.max(0)
    rest = (means.sum(0) - best) / (len(classes) - 1)
    index = np.divide(best - rest, best + rest, out=np.full_like(best, np.nan), where=best > 0)
    return index, classes[means.argmax(0)]


class OrientationTuning:
    """Orientation and direction tuning of each unit of a layer."""

    needs: tuple[str, ...] = ("activations", "orientation")

    def __init__(self, alpha: float = 0.01) -> None:
        self.alpha = alpha

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalars `osi`, `dsi` (medians) and `tuned_share`, at `alpha` after Bonferroni."""
        found = orientation_tuning(given(data, "orientation"), given(data, "activations"))
        units = len(found.osi)
        known, tuned = np.isfinite(found.osi), found.p_value < self.alpha / units
        notes = []
        if missing := int((~known).sum()):
            notes.append(f"{missing} of {units} units are silent or not rates: no index")
        if np.isnan(found.r2[0]).any() and not np.isnan(found.r2[0]).all():
            notes.append(f"{int(np.isnan(found.r2[0]).sum())} units never change")
        best = np.argsort(np.nan_to_num(found.osi, nan=-1))[::-1][:8]

        def draw(ax: Axes) -> None:
            ax.plot(found.angles, found.curves[:, best])
            ax.set(xlabel="orientation (degrees)", ylabel="mean response")

        scalars = {
            "osi": _median(found.osi),
            "dsi": _median(found.dsi),
            "tuned_share": float(tuned.mean()),
        }
        arrays = {
            "preferred_orientation": found.preferred_orientation,
            "osi": found.osi,
            "dsi": found.dsi,
            "p_value": found.p_value,
            "angles": found.angles,
            "curves": found.curves,
        }
        return Result(scalars, arrays, draw, tuple(notes))


class ClassSelectivity:
    """How far each unit of a layer prefers one class."""

    needs: tuple[str, ...] = ("activations", "labels")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalar `selectivity`, the mean; arrays `selectivity` and `preferred` by unit."""
        index, preferred = class_selectivity(given(data, "labels"), given(data, "activations"))
        known = index[np.isfinite(index)]
        silent = len(index) - len(known)

        def draw(ax: Axes) -> None:
            ax.hist(known, bins=20, range=(0, 1))
            ax.set(xlabel="class selectivity", ylabel="units")

        return Result(
            {"selectivity": float(known.mean()) if known.size else float("nan")},
            {"selectivity": index, "preferred": preferred},
            draw,
            (f"{silent} of {len(index)} units never respond",) if silent else (),
        )


def _period(distinct: np.ndarray) -> int:
    """360 or 180, whichever the angles are evenly spread over."""
    for period in (360, 180):
        folded = np.sort(distinct % period)
        gaps = np.diff(folded, append=folded[0] + period)
        if len(distinct) >= 5 and np.allclose(gaps, period / len(distinct), atol=1e-3):
            return period
    raise DataError(
        f"needs at least 5 angles evenly spread over 180 or 360 degrees, got {distinct.tolist()}"
    )


def _resultant(theta: np.ndarray, curves: np.ndarray) -> np.ndarray:
    total = curves.sum(0)
    rates = (curves.min(0) >= 0) & (total > 0)
    vector = np.exp(1j * theta) @ curves
    nowhere = np.full(vector.shape, np.nan, complex)
    return np.asarray(np.divide(vector, total, out=nowhere, where=rates))


def _cosine(theta: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and R^2 of `a cos(theta + p) + m`, by least squares."""
    design = np.stack([np.cos(theta), np.sin(theta), np.ones_like(theta)], axis=1)
    weights = np.linalg.lstsq(design, r, rcond=None)[0]
    spread = ((r - r.mean(0)) ** 2).sum(0)
    left = ((r - design @ weights) ** 2).sum(0)
    changes = spread > 1e-24 * np.maximum((r**2).sum(0), np.finfo(float).tiny)
    share = np.divide(left, spread, out=np.full_like(spread, np.nan), where=changes)
    return np.hypot(weights[0], weights[1]), 1 - share


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if known.size else float("nan")
