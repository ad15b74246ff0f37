"""What training changed: parameters by name, the balance of I and E, and what goes with it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from bioviz_core.analyses.responses import average, given
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result
from scipy.stats import pearsonr

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LAYERS = {"m": "middle", "s": "superficial"}
"""What a name such as `J_EE_m` ends in."""


class ParameterChange:
    """Relative change of each parameter over training, by run.

    `names (parameters,)`, `before` and `after (runs, parameters)`; optionally the runs'
    `threshold_before` and `threshold_after`.
    """

    needs = ("names", "before", "after")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Array `change (runs, parameters)`: percent of the size before; of kappas the difference.

        Where all weights of a layer are there, as `J_EE_m`, also array `ei_ratio_m (runs,)`, the
        percent change of |J_II + J_EI| / |J_IE + J_EE|. With thresholds, `correlation` and
        `p_value (parameters,)` of the change with that of the threshold, by Pearson. Scalars are
        medians over runs, by name.
        """
        names = [str(name) for name in given(data, "names").ravel()]
        before, after = (np.atleast_2d(given(data, key)).astype(float) for key in self.needs[1:])
        if before.shape != after.shape or before.shape[1] != len(names):
            raise DataError(
                f"before and after must be (runs, {len(names)}), got {before.shape} and "
                f"{after.shape}"
            )
        change = relative_change(names, before, after)
        arrays = {"change": change}
        for layer in LAYERS:
            if (ratio := ei_ratio_change(names, before, after, layer)) is not None:
                arrays[f"ei_ratio_{layer}"] = ratio
        if "threshold_before" in data:
            moved = given(data, "threshold_after") - given(data, "threshold_before")
            arrays["correlation"], arrays["p_value"] = _correlations(change, moved.ravel())
        scalars = {
            name: average(column, np.median) for name, column in zip(names, change.T, strict=True)
        }
        scalars |= {
            key: average(values, np.median)
            for key, values in arrays.items()
            if key.startswith("ei_ratio")
        }

        def draw(ax: Axes) -> None:
            shown = [k for k, name in enumerate(names) if not name.startswith("kappa")]
            rows = np.arange(len(shown))[::-1]
            ax.axvline(0, color="#57606B", lw=0.8)
            ax.plot(change[:, shown].T, rows, "|", color="#57606B", ms=6, alpha=0.6)
            ax.plot(np.median(change[:, shown], axis=0), rows, "o", color="#1B1F24")
            ax.set(yticks=rows, yticklabels=[names[k] for k in shown], xlabel="change (%)")

        return Result(scalars, arrays, draw)


def relative_change(names: list[str], before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """`100 (after - before) / |before|`; of kappas, which start at 0, `after - before`.

    A negative weight that grows in size changes by a positive percentage: signs are of the size.
    """
    is_kappa = np.array([name.startswith("kappa") for name in names])
    size = np.where(is_kappa, 1, np.abs(before))
    if (size == 0).any():
        silent = [n for n, z in zip(names, (size == 0).any(0), strict=True) if z]
        raise DataError(f"{silent} start at 0, so they have no relative change")
    grown = np.where(is_kappa, after - before, np.abs(after) - np.abs(before))
    return np.asarray(np.where(is_kappa, 1, 100) * grown / size)


def ei_ratio_change(
    names: list[str], before: np.ndarray, after: np.ndarray, layer: str
) -> np.ndarray | None:
    """Percent change of `|J_II + J_EI| / |J_IE + J_EE|` by run; None where a weight is missing."""
    blocks = [f"J_{ab}_{layer}" for ab in ("II", "EI", "IE", "EE")]
    if not set(blocks) <= set(names):
        return None
    at = [names.index(block) for block in blocks]

    def ratio(values: np.ndarray) -> np.ndarray:
        ii, ei, ie, ee = values[:, at].T
        return np.asarray(np.abs(ii + ei) / np.abs(ie + ee))

    first = ratio(before)
    return np.asarray(100 * (ratio(after) - first) / first)


def _correlations(change: np.ndarray, moved: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    if len(moved) != len(change) or len(moved) < 3:
        raise DataError(
            f"correlations need thresholds of at least three runs, got {len(moved)} for "
            f"{len(change)} runs"
        )
    found = [
        pearsonr(column, moved) if np.ptp(column) and np.ptp(moved) else (np.nan, np.nan)
        for column in change.T
    ]
    r, p = np.array([tuple(one) for one in found], float).T
    return r, p
