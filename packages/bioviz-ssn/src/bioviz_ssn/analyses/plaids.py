"""Plaids: whether the response to two stimuli is more or less than the sum of both responses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from bioviz_core.interfaces import Result
from numpy.typing import ArrayLike

from bioviz_ssn.analyses.operating_point import REFERENCE, steady_rates
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.steady_state import Layer

if TYPE_CHECKING:
    from matplotlib.axes import Axes

STRENGTHS = (2.0, 5.0, 10.0, 20.0, 40.0)


def plaid_weights(
    model: Layer[Any],
    params: Any,
    components: ArrayLike,
    *,
    contrasts: ArrayLike = STRENGTHS,
    cells: slice | np.ndarray | None = None,
) -> Result:
    """The normalization weight `w` of `r_plaid = w (r_1 + r_2)`, by least squares over cells.

    `components (2, cells)` are the drives at contrast 1; they are shown at each contrast, alone and
    together. Above 1 summation is supralinear, below 1 sublinear. `cells` defaults to the first
    half, the E cells. Arrays `contrasts`, `weights (contrasts,)`, `explained (contrasts,)`, the
    share of the plaid response that the sum explains, and `rates (contrasts, 3, cells)` of the two
    components and the plaid. Scalars `first` and `last`, the weights at both ends.
    """
    pair, c = np.asarray(components, float), np.asarray(contrasts, float)
    if pair.ndim != 2 or len(pair) != 2:
        raise ParameterError(f"components must be (2, cells), got {pair.shape}")
    if not len(c) or not (c > 0).all():
        raise ParameterError(f"contrasts must be positive, got {c}")
    shown = c[:, None, None] * np.stack([*pair, pair.sum(0)])
    rates = steady_rates(model, params, shown)
    seen = rates[..., slice(pair.shape[1] // 2) if cells is None else cells]
    weights, explained = summation(seen[:, 0] + seen[:, 1], seen[:, 2])

    def draw(ax: Axes) -> None:
        ax.axhline(1, color=REFERENCE, lw=0.8, dashes=(4, 2))
        ax.plot(c, weights, "o-", color="#1B1F24")
        ax.set(xscale="log", xlabel="contrast", ylabel="weight of the sum", ylim=(0, None))

    scalars = {"first": float(weights[0]), "last": float(weights[-1])}
    arrays = {"contrasts": c, "weights": weights, "explained": explained, "rates": rates}
    return Result(scalars, arrays, draw)


def summation(total: np.ndarray, plaid: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The least-squares weight of `total` in `plaid`, both `(..., cells)`, and the R^2 about 0."""
    weight = (total * plaid).sum(-1) / (total**2).sum(-1)
    left = ((plaid - weight[..., None] * total) ** 2).sum(-1)
    return weight, 1 - left / (plaid**2).sum(-1)
