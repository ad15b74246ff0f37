"""Similarity of representations: RDMs, RSA, linear CKA and the Procrustes distance.

    cka(before, after)                                   # one number for two layers
    similarity_matrix(model.activations(x), measure=cka) # every layer against every layer
    CKA()({"activations": after, "reference": before})   # as a `Result`, with its picture

Responses are `(samples, ...)` and are flattened to `(samples, features)`; both sides answer the
same samples in the same order. Sums are float64. Where a layer is constant over the samples, there
is nothing to compare: the answer is NaN, and the registered analyses add a note that says so.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Literal

import numpy as np

from bioviz_core.analyses.responses import CONSTANT, centred, features, given
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Dissimilarity = Literal["correlation", "euclidean"]


def rdm(responses: np.ndarray, *, dissimilarity: Dissimilarity = "correlation") -> np.ndarray:
    """Dissimilarity `(samples, samples)` between the patterns that two samples evoke.

    `1 - r` of the patterns, or their Euclidean distance. NaN where a pattern has no variance over
    the features, since it correlates with nothing.
    """
    x = features(responses)
    if dissimilarity == "euclidean":
        from scipy.spatial.distance import pdist, squareform

        return np.asarray(squareform(pdist(x)))
    if dissimilarity != "correlation":
        raise ValueError(f"dissimilarity must be correlation or euclidean, got {dissimilarity!r}")
    patterns = centred(x.T).T
    norms = np.linalg.norm(patterns, axis=1, keepdims=True)
    unit = np.divide(patterns, norms, out=np.full_like(patterns, np.nan), where=norms > 0)
    distances = 1 - np.clip(unit @ unit.T, -1, 1)
    np.fill_diagonal(distances, np.where(norms[:, 0] > 0, 0.0, np.nan))
    return np.asarray(distances)


def rsa(
    x: np.ndarray,
    y: np.ndarray,
    *,
    dissimilarity: Dissimilarity = "correlation",
    method: Literal["spearman", "pearson"] = "spearman",
) -> float:
    """Correlation between the upper triangles of two RDMs; pairs that either lacks are left out."""
    x, y = _pair(x, y, least=3)
    upper = np.triu_indices(len(x), 1)
    a, b = (rdm(side, dissimilarity=dissimilarity)[upper] for side in (x, y))
    known = np.isfinite(a) & np.isfinite(b)
    a, b = a[known], b[known]
    if method == "spearman":
        from scipy.stats import rankdata

        a, b = rankdata(a), rankdata(b)
    elif method != "pearson":
        raise ValueError(f"method must be spearman or pearson, got {method!r}")
    if len(a) < 3:
        return float("nan")
    a, b = (centred(side[:, None])[:, 0] for side in (a, b))
    return _ratio(float(a @ b), float(a @ a), float(b @ b))


def cka(x: np.ndarray, y: np.ndarray, *, debiased: bool = True) -> float:
    """Linear centred kernel alignment `<K, L> / (|K| |L|)`, with `K = X X'` and `L = Y Y'`.

    Debiased (Song et al. 2012) the kernels are U-centred, which makes the inner product an unbiased
    HSIC: with more features than samples, independent responses then score near 0, where the
    biased form nears 1. It needs 4 samples. Invariant to rotation, isotropic scaling and shift.
    """
    x, y = _pair(x, y, least=4 if debiased else 2)
    k, l = (_kernel(side, debiased=debiased) for side in (x, y))  # noqa: E741  # the paper's letters
    return _ratio(float(np.vdot(k, l)), float(np.vdot(k, k)), float(np.vdot(l, l)))


def procrustes(x: np.ndarray, y: np.ndarray) -> float:
    """Angle in radians between two responses after the best rotation: 0 to pi / 2.

    `arccos(|X'Y|_* / (|X| |Y|))` of centred responses, where `|.|_*` sums singular values. A
    metric, invariant to rotation, isotropic scaling and shift (Williams et al. 2021).
    """
    x, y = (centred(side) for side in _pair(x, y, least=2))
    product = _factor(x) @ _factor(y).T
    nuclear = float(np.linalg.svd(product, compute_uv=False).sum())
    cosine = _ratio(nuclear, float(np.vdot(x, x)), float(np.vdot(y, y)))
    return float(np.arccos(np.clip(cosine, -1, 1)))


def similarity_matrix(
    layers: Mapping[str, np.ndarray],
    others: Mapping[str, np.ndarray] | None = None,
    *,
    measure: Callable[[np.ndarray, np.ndarray], float] = cka,
) -> np.ndarray:
    """`measure` of every layer of one model against every layer of another, or of itself."""
    rows, columns = layers.values(), (layers if others is None else others).values()
    return np.array([[measure(row, column) for column in columns] for row in rows])


class RDM:
    """Representational dissimilarity matrix of one layer."""

    needs: tuple[str, ...] = ("activations",)

    def __init__(self, dissimilarity: Dissimilarity = "correlation") -> None:
        self.dissimilarity: Dissimilarity = dissimilarity

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalar `mean`, over pairs; array `rdm`."""
        x = features(given(data, "activations"), least=2)
        distances = rdm(x, dissimilarity=self.dissimilarity)
        pairs = distances[np.triu_indices(len(x), 1)]
        known = pairs[np.isfinite(pairs)]
        flat = int(np.isnan(np.diag(distances)).sum())
        notes = (f"{flat} of {len(x)} patterns are constant and left out",) if flat else ()
        mean = float(known.mean()) if known.size else float("nan")

        def draw(ax: Axes) -> None:
            image = ax.imshow(distances, cmap="viridis", interpolation="none")
            ax.figure.colorbar(image, ax=ax, label=f"{self.dissimilarity} distance")
            ax.set(xlabel="sample", ylabel="sample")

        return Result({"mean": mean}, {"rdm": distances}, draw, notes)


class _Comparison:
    """One number for the responses of a layer and those of a reference to the same samples."""

    needs: tuple[str, ...] = ("activations", "reference")
    scalar = ""

    def measure(self, x: np.ndarray, y: np.ndarray) -> float:
        raise NotImplementedError

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """The measure as a scalar; NaN and a note where a side has no structure to compare."""
        value = self.measure(*(given(data, key) for key in self.needs))
        notes = tuple(
            f"{key} do not differ over the samples: nothing to compare"
            for key in self.needs
            if not centred(features(data[key])).any()
        )
        if np.isnan(value) and not notes:
            notes = ("too few samples differ from the others: nothing to compare",)
        return Result({self.scalar: value}, notes=notes)


class RSA(_Comparison):
    """Correlation of the RDMs of a layer and a reference."""

    scalar = "rsa"

    def __init__(
        self,
        dissimilarity: Dissimilarity = "correlation",
        method: Literal["spearman", "pearson"] = "spearman",
    ) -> None:
        self.dissimilarity: Dissimilarity = dissimilarity
        self.method: Literal["spearman", "pearson"] = method

    def measure(self, x: np.ndarray, y: np.ndarray) -> float:
        """`rsa` of the two."""
        return rsa(x, y, dissimilarity=self.dissimilarity, method=self.method)


class CKA(_Comparison):
    """Linear CKA of a layer and a reference."""

    scalar = "cka"

    def __init__(self, debiased: bool = True) -> None:
        self.debiased = debiased

    def measure(self, x: np.ndarray, y: np.ndarray) -> float:
        """`cka` of the two."""
        return cka(x, y, debiased=self.debiased)


class Procrustes(_Comparison):
    """Angle between a layer and a reference after the best rotation."""

    scalar = "angle"

    def measure(self, x: np.ndarray, y: np.ndarray) -> float:
        """`procrustes` of the two."""
        return procrustes(x, y)


def _pair(x: np.ndarray, y: np.ndarray, *, least: int) -> tuple[np.ndarray, np.ndarray]:
    x, y = features(x, least=least), features(y, least=least)
    if len(x) != len(y):
        raise DataError(f"both sides must answer the same samples, got {len(x)} and {len(y)}")
    return x, y


def _factor(x: np.ndarray) -> np.ndarray:
    """`X'`, or with more features than samples its triangular factor: the singular values stay."""
    transposed: np.ndarray = x.T
    if x.shape[1] <= len(x):
        return transposed
    return np.asarray(np.linalg.qr(transposed, mode="r"))


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
    rounding = np.abs(unbiased).max() <= CONSTANT * np.einsum("ij,ij->i", x, x).max()
    return np.zeros_like(unbiased) if rounding else np.asarray(unbiased)


def _ratio(product: float, a: float, b: float) -> float:
    return product / float(np.sqrt(a) * np.sqrt(b)) if a > 0 and b > 0 else float("nan")
