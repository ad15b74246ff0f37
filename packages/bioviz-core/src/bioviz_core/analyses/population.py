"""How a population answers: sparseness, dimensionality, mean response.

Sparseness and mean take the size `|r|` of a response, so that silence is 0 and signed units count;
the usual formula passes 1 on signed ones.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from bioviz_core.analyses.responses import average, centred, curves, features, given, ratio
from bioviz_core.interfaces import Result


def sparseness(responses: np.ndarray, *, axis: int = -1) -> np.ndarray:
    """Treves-Rolls sparseness `(1 - a) / (1 - 1/n)`, `a = mean(|r|)^2 / mean(r^2)`, along an axis.

    0 where all n respond alike, 1 where one alone responds. Along the units (-1) it is the
    population's, one value per sample; along the samples (0) a unit's lifetime sparseness. NaN
    where nothing responds or n is 1.
    """
    x = np.abs(np.asarray(responses, np.float64))
    x = x / np.maximum(x.max(axis=axis, keepdims=True), np.finfo(float).tiny)
    a = ratio(x.mean(axis) ** 2, (x**2).mean(axis))
    return ratio(1 - a, np.full_like(a, 1 - 1 / x.shape[axis]))


def participation_ratio(responses: np.ndarray) -> float:
    """`(sum e)^2 / sum e^2` of the covariance's eigenvalues: how many dimensions are in use.

    From 1 to the smaller of features and samples - 1; NaN where the samples do not differ.
    """
    x = centred(features(responses, least=2))
    x = x / (np.abs(x).max() or 1.0)
    gram = x @ x.T if len(x) < x.shape[1] else x.T @ x
    return float(ratio(np.trace(gram) ** 2, np.vdot(gram, gram)))


class Population:
    """Sparseness, participation ratio and mean response of one layer."""

    needs: tuple[str, ...] = ("activations",)

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalars as named; arrays `sparseness` by sample and `response_by_rank`.

        `response_by_rank` is the mean `|r|` of the strongest unit of each sample, the second, and
        so on: sharper tuning makes it steeper.
        """
        x = features(given(data, "activations"), least=2)
        by_sample, size = sparseness(x), np.abs(x)
        silent = int((~size.any(axis=1)).sum())
        notes = [f"{silent} of {len(x)} samples evoke no response"] * bool(silent)
        dimensions = participation_ratio(x)
        if np.isnan(dimensions):
            notes.append("the responses do not differ over the samples: no dimension is in use")
        ranked = np.sort(size, axis=1)[:, ::-1].mean(0)
        labels = {"xlabel": "unit, by its rank in each sample", "ylabel": "mean response"}
        draw = curves(np.arange(1, len(ranked) + 1), ranked, ylim=(0, None), **labels)
        scalars = {
            "sparseness": average(by_sample),
            "participation_ratio": dimensions,
            "mean_response": float(size.mean()),
            "active_share": float((size > 0).mean()),
        }
        arrays = {"sparseness": by_sample, "response_by_rank": ranked}
        return Result(scalars, arrays, draw, tuple(notes))
