"""Similarity of representations: RDMs, RSA, linear CKA and the Procrustes distance.

    cka(before, after)                                   # one number for two layers
    similarity_matrix(model.activations(x), measure=cka) # every layer against every layer
    CKA()({"activations": after, "reference": before})   # as a `Result`, with its picture

Responses are `(samples, ...)` and are flattened to `(samples, features)`; both sides answer the
same samples in the same order. Sums are float64. Where a layer is constant over the samples, there
is nothing to compare: RSA and Procrustes are NaN, CKA is 0 since nothing is shared, and the
registered analyses add a note that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from typing import ClassVar, Literal

import numpy as np
from scipy.linalg import qr
from scipy.spatial.distance import pdist, squareform
from scipy.stats import rankdata

from bioviz_core.analyses.responses import (
    CONSTANT,
    average,
    centred,
    features,
    given,
    heatmap,
    ratio,
)
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result

Dissimilarity = Literal["correlation", "euclidean"]
Method = Literal["spearman", "pearson"]
Layers = Mapping[str, np.ndarray]


def rdm(responses: np.ndarray, *, dissimilarity: Dissimilarity = "correlation") -> np.ndarray:
    """Dissimilarity `(samples, samples)` between the patterns that two samples evoke.

    `1 - r` of the patterns, or their Euclidean distance. NaN where a pattern has no variance over
    the features, since it correlates with nothing.
    """
    x = features(responses)
    if dissimilarity == "euclidean":
        return np.asarray(squareform(pdist(x)))
    if dissimilarity != "correlation":
        raise ValueError(f"dissimilarity must be correlation or euclidean, got {dissimilarity!r}")
    patterns = centred(x.T).T
    distances = squareform(pdist(patterns, "cosine"))
    flat = ~patterns.any(1)
    distances[flat] = distances[:, flat] = np.nan
    return np.asarray(distances)


def rsa(
    x: np.ndarray, y: np.ndarray, *, dissimilarity: Dissimilarity = "correlation",
    method: Method = "spearman",
) -> float:  # fmt: skip
    """Correlation between the upper triangles of two RDMs; pairs that either lacks are left out."""
    x, y = _pair(x, y, least=3)
    upper = np.triu_indices(len(x), 1)
    pairs = np.stack([rdm(side, dissimilarity=dissimilarity)[upper] for side in (x, y)], axis=1)
    pairs = pairs[np.isfinite(pairs).all(1)]
    if method not in ("spearman", "pearson"):
        raise ValueError(f"method must be spearman or pearson, got {method!r}")
    if len(pairs) < 3:
        return float("nan")
    a, b = centred(rankdata(pairs, axis=0) if method == "spearman" else pairs).T
    return _cosine(a, b)


def cka(x: np.ndarray, y: np.ndarray, *, debiased: bool = True) -> float:
    """Linear centred kernel alignment `<K, L> / (|K| |L|)`, with `K = X X'` and `L = Y Y'`.

    Debiased (Song et al. 2012) the kernels are U-centred, which makes the inner product an unbiased
    HSIC: with more features than samples, independent responses then score near 0, where the
    biased form nears 1. It needs 4 samples. Invariant to rotation, isotropic scaling and shift.
    Never NaN: 0 where the kernel of a side vanishes, as that of a constant layer does.
    """
    value = _alignment(x, y, debiased=debiased)
    return 0.0 if np.isnan(value) else value


def _alignment(x: np.ndarray, y: np.ndarray, *, debiased: bool) -> float:
    """`cka`, NaN where a kernel vanishes."""
    x, y = _pair(x, y, least=4 if debiased else 2)
    return _cosine(_kernel(x, debiased=debiased), _kernel(y, debiased=debiased))


def procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """Angle in radians between two responses after the best rotation: 0 to pi / 2.

    `arccos(|X'Y|_* / (|X| |Y|))` of centred responses, where `|.|_*` sums singular values. A
    metric, invariant to rotation, isotropic scaling and shift (Williams et al. 2021).
    """
    # The triangular factors keep the singular values, and are small for wide layers.
    a, b = (qr(centred(side).T, mode="r")[0] for side in _pair(x, y, least=2))
    cosine = ratio(np.linalg.norm(a @ b.T, "nuc"), np.linalg.norm(a) * np.linalg.norm(b))
    return float(np.arccos(np.clip(cosine, -1, 1)))


def similarity_matrix(
    layers: Layers, others: Layers | None = None, *, measure: Callable[..., float] = cka
) -> np.ndarray:
    """`measure` of every layer of one model against every layer of another, or of itself."""
    columns = (layers if others is None else others).values()
    return np.array([[measure(row, column) for column in columns] for row in layers.values()])


@dataclass(frozen=True)
class RDM:
    """Representational dissimilarity matrix of one layer."""

    dissimilarity: Dissimilarity = "correlation"
    needs: ClassVar = ("activations",)

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalar `mean`, over pairs; array `rdm`."""
        x = features(given(data, "activations"), least=2)
        distances = rdm(x, dissimilarity=self.dissimilarity)
        flat = int(np.isnan(np.diag(distances)).sum())
        notes = (f"{flat} of {len(x)} patterns are constant and left out",) if flat else ()
        label = f"{self.dissimilarity} distance"
        draw = heatmap(distances, label, xlabel="sample", ylabel="sample")
        mean = average(distances[np.triu_indices(len(x), 1)])
        return Result({"mean": mean}, {"rdm": distances}, draw, notes)


@dataclass(frozen=True)
class _Comparison:
    """One number for the responses of a layer and those of a reference to the same samples."""

    needs: ClassVar = ("activations", "reference")
    scalar: ClassVar[str]
    measure: ClassVar[Callable[..., float]]
    nothing: ClassVar[float] = float("nan")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """The measure as a scalar; `nothing` and a note where a side has no structure."""
        sides = {key: given(data, key) for key in self.needs}
        value = type(self).measure(*sides.values(), **asdict(self))
        notes = [
            f"{key} do not differ over the samples: nothing to compare"
            for key, side in sides.items()
            if not centred(features(side)).any()
        ]
        if np.isnan(value) and not notes:
            notes = ["too few samples differ from the others: nothing to compare"]
        return Result({self.scalar: self.nothing if np.isnan(value) else value}, notes=tuple(notes))


@dataclass(frozen=True)
class RSA(_Comparison):
    """Correlation of the RDMs of a layer and a reference."""

    dissimilarity: Dissimilarity = "correlation"
    method: Method = "spearman"
    scalar, measure = "rsa", rsa


@dataclass(frozen=True)
class CKA(_Comparison):
    """Linear CKA of a layer and a reference; 0 where one of them does not vary."""

    debiased: bool = True
    scalar, measure, nothing = "cka", _alignment, 0.0


@dataclass(frozen=True)
class Procrustes(_Comparison):
    """Angle between a layer and a reference after the best rotation."""

    scalar, measure = "angle", procrustes


def _pair(x: np.ndarray, y: np.ndarray, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = features(x, least=least), features(y, least=least)
    if len(x) != len(y):
        raise DataError(f"both sides must answer the same samples, got {len(x)} and {len(y)}")
    return x, y


def _kernel(x: np.ndarray, *, debiased: bool) -> np.ndarray:
    x = centred(x)
    # Correlations do not change with size: no square may overflow or vanish.
    x = x / (np.abs(x).max() or 1.0)
    kernel = x @ x.T
    if not debiased:
        return kernel
    n = len(kernel)
    np.fill_diagonal(kernel, 0)
    rows = kernel.sum(1) / (n - 2)
    unbiased = kernel - rows[:, None] - rows[None] + kernel.sum() / ((n - 1) * (n - 2))
    np.fill_diagonal(unbiased, 0)
    rounding = np.abs(unbiased).max() <= CONSTANT * (x**2).sum(1).max()
    return np.zeros_like(unbiased) if rounding else np.asarray(unbiased)


def _cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(ratio(np.vdot(a, b), np.linalg.norm(a) * np.linalg.norm(b)))
