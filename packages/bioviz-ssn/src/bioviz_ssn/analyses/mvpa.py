"""Decoding of orientation from layers, as published for fMRI patterns and for the V1 model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from bioviz_core.analyses.readout import fit_readout, score
from bioviz_core.analyses.responses import given
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result
from scipy.ndimage import convolve1d
from scipy.spatial.distance import cdist
from sklearn.decomposition import PCA
from sklearn.model_selection import StratifiedShuffleSplit

if TYPE_CHECKING:
    from matplotlib.axes import Axes

EXCITATION = 0.8
"""Share of the E cells in a point's signal."""
SMOOTHING = 2.0
KERNEL = 13
CENTER = 5
VARIANCE = 0.7
COMPONENTS = (2, 20)


def patterns(
    rates: np.ndarray, rng: np.random.Generator, *, noise: float = 1.0, center: int = CENTER
) -> np.ndarray:
    """What a voxel-wise measurement would see of a layer: `(trials, center^2)`.

    `rates (trials, phases, 2, points)`, or `(trials, 2, points)` for a layer without phases, are
    added as 0.8 E + 0.2 I over phases, smoothed by a 13 x 13 Gaussian of sigma 2 grid points with
    zeros around, divided by their standard deviation, cut to the central points, and get N(0, 1)
    noise.
    """
    r = np.asarray(rates, float)
    r = r if r.ndim == 4 else r[:, None]
    side = round(r.shape[-1] ** 0.5)
    if r.ndim != 4 or r.shape[2] != 2 or side**2 != r.shape[-1] or side < center:
        raise DataError(
            f"rates must be (trials, phases, 2, points) on a square grid of at least "
            f"{center} x {center}, got {np.shape(rates)}"
        )
    signal = (EXCITATION * r[:, :, 0] + (1 - EXCITATION) * r[:, :, 1]).sum(1)
    image = signal.reshape(-1, side, side)
    place = np.arange(KERNEL) - KERNEL // 2
    kernel = np.exp(-(place**2) / (2 * SMOOTHING**2))
    for axis in (1, 2):
        image = convolve1d(image, kernel / kernel.sum(), axis=axis, mode="constant")
    if not (spread := image.std()):
        raise DataError("the rates do not vary, so there is nothing to decode")
    first = (side - center) // 2
    cut = (image / spread)[:, first : first + center, first : first + center]
    seen: np.ndarray = cut.reshape(len(cut), -1)
    return seen + noise * rng.standard_normal(seen.shape)


def principal_components(x: np.ndarray) -> np.ndarray:
    """Scores of as many components as pass 70 % of the variance, at least 2 and at most 20."""
    pca = PCA(min(COMPONENTS[1], *x.shape), svd_solver="full").fit(x)
    enough = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), VARIANCE) + 1)
    scores: np.ndarray = pca.transform(x)
    return scores[:, : max(COMPONENTS[0], enough)]


@dataclass(frozen=True)
class Decoding:
    """Accuracy of a linear decoder that tells orientations apart: multivariate pattern analysis."""

    splits: int = 10
    seed: int = 0
    needs = ("rates", "labels")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalar `accuracy`, the mean over ten halvings of the trials, and `components`.

        `rates` as in `patterns`, `labels (trials,)` of two or more classes; core's readout, a
        logistic regression, sees the principal components. Array `accuracies (splits,)`.
        """
        labels = np.asarray(given(data, "labels")).ravel()
        rng = np.random.default_rng(self.seed)
        x = patterns(given(data, "rates"), rng)
        if len(x) != len(labels) or len(np.unique(labels)) < 2:
            raise DataError(
                f"needs a label of at least two classes for each of {len(x)} trials, "
                f"got {len(labels)} of {len(np.unique(labels))}"
            )
        scores = principal_components(x)
        halves = StratifiedShuffleSplit(self.splits, test_size=0.5, random_state=self.seed)
        accuracies = np.array(
            [
                score(fit_readout(scores[a], labels[a]), scores[b], labels[b]).accuracy
                for a, b in halves.split(scores, labels)
            ]
        )

        def draw(ax: Axes) -> None:
            for k, label in enumerate(np.unique(labels)):
                ax.plot(*scores[labels == label, :2].T, ".", label=f"{label}", ms=3, zorder=-k)
            ax.legend()
            ax.set(xlabel="first component", ylabel="second component")

        scalars = {"accuracy": float(accuracies.mean()), "components": float(scores.shape[1])}
        return Result(scalars, {"accuracies": accuracies, "scores": scores}, draw)


@dataclass(frozen=True)
class Mahalanobis:
    """Distance of orientations from a control, within the spread of trials."""

    seed: int = 0
    needs = ("rates", "labels", "control")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """How far trials of each label lie from those of the label `control`, by Mahalanobis.

        In the principal components of all trials. Arrays by label in `classes`, without the
        control: `distance`, the mean distance of its trials to the control's distribution;
        `within`, that of each to its own label's other trials; `snr` their ratio. Scalars
        `snr_<label>` and `distance_<label>`.
        """
        labels, control = np.asarray(given(data, "labels")).ravel(), given(data, "control")
        x = patterns(given(data, "rates"), np.random.default_rng(self.seed))
        classes = [label for label in np.unique(labels) if label != control]
        if len(classes) == len(np.unique(labels)) or not classes or len(x) != len(labels):
            raise DataError(
                f"needs trials of the control {control} and of another label, and a label for "
                f"each of {len(x)} trials, got {np.unique(labels)}"
            )
        scores = principal_components(x)
        base = scores[labels == control]
        distance = np.array([mahalanobis(scores[labels == c], base).mean() for c in classes])
        within = np.array([left_out(scores[labels == c]).mean() for c in classes])
        arrays = {
            "classes": np.array(classes), "distance": distance, "within": within,
            "snr": distance / within,
        }  # fmt: skip
        scalars = {f"snr_{c}": float(v) for c, v in zip(classes, arrays["snr"], strict=True)}
        scalars |= {f"distance_{c}": float(v) for c, v in zip(classes, distance, strict=True)}

        def draw(ax: Axes) -> None:
            ax.bar([str(c) for c in classes], arrays["snr"], color="#565F6C")
            ax.set(xlabel="orientation", ylabel="distance over spread")

        return Result(scalars, arrays, draw)


def mahalanobis(points: np.ndarray, to: np.ndarray) -> np.ndarray:
    """Distances of `points (n, features)` to the mean of `to`, in units of its covariance."""
    if len(to) <= to.shape[1]:
        raise DataError(f"{len(to)} trials give no covariance of {to.shape[1]} components")
    inverse = np.linalg.inv(np.atleast_2d(np.cov(to.T)))
    found: np.ndarray = cdist(points, to.mean(0, keepdims=True), "mahalanobis", VI=inverse)
    return found[:, 0]


def left_out(points: np.ndarray) -> np.ndarray:
    """Distance of each point to all the others' distribution."""
    keep = ~np.eye(len(points), dtype=bool)
    rows = enumerate(keep)
    return np.array([mahalanobis(points[k : k + 1], points[mask])[0] for k, mask in rows])


def learning_modulation(trained: tuple[float, float], untrained: tuple[float, float]) -> float:
    """`(after - before)` at the trained orientation less that at the untrained one.

    Each is `(before, after)` of any measure, such as a signal-to-noise ratio.
    """
    return (trained[1] - trained[0]) - (untrained[1] - untrained[0])
