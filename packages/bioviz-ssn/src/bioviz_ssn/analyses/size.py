"""Size tuning: summation over a stimulus' size, and suppression by its surround."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bioviz_core.interfaces import Result
from numpy.typing import ArrayLike

from bioviz_ssn.analyses.operating_point import EXCITATORY, INHIBITORY, steady_rates
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.steady_state import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def size_tuning(
    model: Layer[Any], params: Any, drives: ArrayLike, sizes: ArrayLike, *, cells: tuple[int, int]
) -> Result:
    """Rates of an E and an I cell for stimuli of growing size, `drives (sizes, cells)`.

    The suppression index is `(r_max - r_largest) / r_max`: 0 where nothing is lost at the largest
    size, 1 where all is. Arrays `sizes` and `rates (sizes, 2)`; scalars `suppression_E`,
    `suppression_I` and the sizes of the largest rates, `preferred_E` and `preferred_I`.
    """
    size, shown = np.asarray(sizes, float), np.asarray(drives, float)
    if len(size) < 2 or not (np.diff(size) > 0).all() or shown.shape[:-1] != size.shape:
        raise ParameterError(
            f"needs a drive for each of at least two rising sizes, got {shown.shape} for {size}"
        )
    rates = steady_rates(model, params, shown)[:, list(cells)]
    scalars = {}
    for name, r in zip("EI", rates.T, strict=True):
        scalars[f"suppression_{name}"] = float(suppression(r))
        scalars[f"preferred_{name}"] = float(size[r.argmax()])

    def draw(ax: Axes) -> None:
        ax.plot(size, rates[:, 0], "-", color=EXCITATORY, label="E")
        ax.plot(size, rates[:, 1], "--", color=INHIBITORY, label="I")
        ax.legend()
        ax.set(xlabel="size", ylabel="rate (Hz)", ylim=(0, None))

    return Result(scalars, {"sizes": size, "rates": rates}, draw)


def suppression(rates: np.ndarray) -> np.ndarray:
    """`(max - last) / max` of `rates (sizes, ...)`, from the smallest size to the largest; 0 for
    a cell that is silent."""
    peak = rates.max(0)
    return np.asarray(np.where(peak > 0, (peak - rates[-1]) / np.where(peak > 0, peak, 1), 0))
