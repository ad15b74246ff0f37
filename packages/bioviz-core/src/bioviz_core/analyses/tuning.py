"""Tuning of single units: to orientation and direction, and to classes.

An angle is that of the stimulus' modulation in degrees, as in `stimuli.gratings`; direction has
the period 360, orientation 180.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.analyses.responses import average, centred, curves, given, paired, ratio
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result


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
    r, turned = paired(responses, angles, least=5)
    distinct, place = np.unique(np.round(turned % 360, 6), return_inverse=True)
    means = np.stack([r[place == number].mean(0) for number in range(len(distinct))])
    rates = np.where(means.min(0) >= 0, means.sum(0), 0)
    vectors = np.exp(1j * np.deg2rad(distinct) * [[1], [2]]) @ means
    fits = [_cosine(np.deg2rad(turned) * k, r) for k in (1, 2)]
    amplitude, r2 = (np.stack(values) for values in zip(*fits, strict=True))
    if _period(distinct) == 180:  # a direction and its opposite are one stimulus here
        vectors[0] = amplitude[0] = r2[0] = np.nan
    direction, orientation = np.rad2deg(np.angle(vectors)) % 360
    dsi, osi = ratio(np.abs(vectors), rates)
    better = np.fmax(*r2)
    p_value = (1 - better).clip(0) ** ((len(r) - 3) / 2)  # of F with 2 and n - 3 degrees of freedom
    known = np.where(np.isnan([dsi, osi]), np.nan, [direction, orientation / 2])
    return Tuning(
        angles=distinct, curves=means, preferred_direction=known[0], preferred_orientation=known[1],
        osi=osi, dsi=dsi, amplitude=amplitude, r2=r2, p_value=p_value,
        fits_orientation=better == r2[1],
    )  # fmt: skip


def class_selectivity(labels: ArrayLike, responses: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`(index, preferred class)` per unit: `(best - rest) / (best + rest)` of `|r|` by class.

    `best` is the largest class mean, `rest` the mean of the other classes' means: 0 where a unit
    answers all alike, 1 where it answers one only, NaN where it answers none.
    """
    x, shown = paired(responses, labels)
    classes = np.unique(shown)
    if len(classes) < 2:
        raise DataError(f"needs at least two classes, got {classes.tolist()}")
    means = np.stack([np.abs(x[shown == label]).mean(0) for label in classes])
    best = means.max(0)
    rest = (means.sum(0) - best) / (len(classes) - 1)
    return ratio(best - rest, best + rest), classes[means.argmax(0)]


@dataclass(frozen=True)
class OrientationTuning:
    """Orientation and direction tuning of each unit of a layer."""

    alpha: float = 0.01
    needs = ("activations", "orientation")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalars `osi`, `dsi` (medians) and `tuned_share`, at `alpha` after Bonferroni."""
        found = orientation_tuning(given(data, "orientation"), given(data, "activations"))
        units, missing = len(found.osi), int(np.isnan(found.osi).sum())
        best = np.argsort(np.nan_to_num(found.osi, nan=-1))[::-1][:8]
        labels = {"xlabel": "orientation (degrees)", "ylabel": "mean response"}
        draw = curves(found.angles, found.curves[:, best], **labels)
        scalars = {
            "osi": average(found.osi, np.median),
            "dsi": average(found.dsi, np.median),
            "tuned_share": float((found.p_value < self.alpha / units).mean()),
        }
        note = f"{missing} of {units} units are silent or not rates: no index"
        return Result(scalars, asdict(found), draw, (note,) * bool(missing))


class ClassSelectivity:
    """How far each unit of a layer prefers one class."""

    needs = ("activations", "labels")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalar `selectivity`, the mean; arrays `selectivity` and `preferred` by unit."""
        index, preferred = class_selectivity(given(data, "labels"), given(data, "activations"))
        silent = int(np.isnan(index).sum())
        labels = {"xlabel": "unit, by its rank", "ylabel": "class selectivity"}
        draw = curves(np.arange(1, len(index) + 1), -np.sort(-index), **labels)
        arrays = {"selectivity": index, "preferred": preferred}
        notes = (f"{silent} of {len(index)} units never respond",) * bool(silent)
        return Result({"selectivity": average(index)}, arrays, draw, notes)


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


def _cosine(theta: np.ndarray, r: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Amplitude and R^2 of `a cos(theta + p) + m`, by least squares."""
    design = np.stack([np.cos(theta), np.sin(theta), np.ones_like(theta)], axis=1)
    weights = np.linalg.lstsq(design, r, rcond=None)[0]
    spread = (centred(r) ** 2).sum(0)
    left = ((r - design @ weights) ** 2).sum(0)
    return np.hypot(weights[0], weights[1]), 1 - ratio(left, spread)
