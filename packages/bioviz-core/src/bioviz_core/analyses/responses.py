"""Responses as analyses take them: checked, flattened, centred."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.errors import DataError

if TYPE_CHECKING:
    from matplotlib.axes import Axes

CONSTANT = 1e-12
"""Below this share of its size, what is left after centring is rounding."""


def features(responses: np.ndarray, *, least: int = 1) -> np.ndarray:
    """Responses as float64 `(samples, features)`; `DataError` for too few or non-finite ones."""
    x = np.asarray(responses, np.float64)
    if x.ndim < 2 or len(x) < least or not x.size:
        raise DataError(f"needs at least {least} samples of (samples, features), got {x.shape}")
    if not np.isfinite(x).all():
        raise DataError(f"{int((~np.isfinite(x)).sum())} responses are not finite")
    return x.reshape(len(x), -1)


def paired(responses: np.ndarray, what: Any, *, least: int = 2) -> tuple[np.ndarray, np.ndarray]:
    """`features` and one label, angle or group for each sample; `DataError` for another number."""
    x, y = features(responses, least=least), np.asarray(what).reshape(-1)
    if len(x) != len(y):
        raise DataError(f"needs one value for each response, got {len(y)} for {len(x)}")
    return x, y


def given(data: Mapping[str, Any], key: str) -> np.ndarray:
    """One array of what an analysis was given; `DataError` where it is not there."""
    if key not in data:
        raise DataError(f"needs {key!r}, the data has {', '.join(sorted(data)) or 'nothing'}")
    return np.asarray(data[key])


def centred(x: np.ndarray) -> np.ndarray:
    """Columns less their means; exactly 0 where what is left is the mean's rounding."""
    left = x - x.mean(axis=0, keepdims=True)
    rounding = np.abs(left).max(axis=0) <= CONSTANT * np.abs(x).max(axis=0)
    left[:, rounding] = 0
    return np.asarray(left)


def ratio(over: ArrayLike, under: ArrayLike) -> np.ndarray:
    """`over / under`, NaN where `under` is not positive."""
    known = np.asarray(under) > 0
    return np.where(known, np.divide(over, np.where(known, under, 1)), np.nan)


def average(values: np.ndarray, mean: Callable[..., Any] = np.mean) -> float:
    """The mean, or another one, of what is not NaN; NaN where all is."""
    known = values[np.isfinite(values)]
    return float(mean(known)) if known.size else float("nan")


def heatmap(values: np.ndarray, label: str, **axes: Any) -> Callable[[Axes], None]:
    """The picture of a matrix with the meaning of its colours; `axes` are the axes' properties."""

    def draw(ax: Axes) -> None:
        image = ax.imshow(values, cmap="viridis", interpolation="none")
        ax.figure.colorbar(image, ax=ax, label=label)
        ax.set(**axes)

    return draw


def curves(x: np.ndarray, y: np.ndarray, **axes: Any) -> Callable[[Axes], None]:
    """The picture of one or more lines; `axes` are the axes' properties."""

    def draw(ax: Axes) -> None:
        ax.plot(x, y)
        ax.set(**axes)

    return draw
