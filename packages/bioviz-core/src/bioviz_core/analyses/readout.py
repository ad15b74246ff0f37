"""Linear read-outs of frozen responses, on scikit-learn.

readout = fit_readout(train_responses, train_labels)
score(readout, test_responses, test_labels).accuracy
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from bioviz_core.analyses.responses import features, given
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from sklearn.pipeline import Pipeline


@dataclass(frozen=True, slots=True)
class Decoded:
    """What a read-out makes of held-out responses.

    `probability` is the mean that it gives the true class, `chance` the share of the commonest true
    class, `confusion (true, decoded)` counts by `classes`.
    """

    accuracy: float
    probability: float
    chance: float
    confusion: np.ndarray
    classes: np.ndarray


def fit_readout(
    responses: np.ndarray,
    labels: np.ndarray,
    *,
    c: float = 1.0,
    components: int | None = None,
    max_steps: int = 2000,
) -> Pipeline:
    """Logistic regression (L-BFGS, L2 of strength `1 / c`) on standardized responses.

    `components` puts a PCA before it. The pipeline has scikit-learn's `predict`; where it stops at
    `max_steps` without having converged, `ConvergenceWarning` says so.
    """
    from sklearn.decomposition import PCA
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, y = _labelled(responses, labels)
    if len(np.unique(y)) < 2:
        raise DataError("needs at least two classes to tell apart")
    steps: list[Any] = [StandardScaler()]
    if components is not None:
        steps.append(PCA(min(components, *x.shape), svd_solver="full"))
    return make_pipeline(*steps, LogisticRegression(C=c, max_iter=max_steps)).fit(x, y)


def score(readout: Pipeline, responses: np.ndarray, labels: np.ndarray) -> Decoded:
    """How well a read-out decodes responses that it was not fitted to."""
    from sklearn.metrics import confusion_matrix

    x, y = _labelled(responses, labels)
    classes = np.asarray(readout.classes_)
    if strange := sorted(set(y.tolist()) - set(classes.tolist())):
        raise DataError(f"the read-out was fitted without the classes {strange}")
    chances = readout.predict_proba(x)
    decoded = classes[chances.argmax(1)]
    place = np.searchsorted(classes, y)
    return Decoded(
        accuracy=float((decoded == y).mean()),
        probability=float(chances[np.arange(len(y)), place].mean()),
        chance=float(np.bincount(place).max() / len(y)),
        confusion=confusion_matrix(y, decoded, labels=classes),
        classes=classes,
    )


def ridge_r2(
    responses: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, alpha: float = 1.0
) -> float:
    """Share of the targets' variance that ridge regression explains in groups it never saw.

    `1 - |T - T_hat|^2 / |T - mean|^2` with each group left out once; standardized responses; the
    mean is that of the other groups. 0 is no better than the mean, below it worse.
    """
    from sklearn.linear_model import Ridge
    from sklearn.model_selection import LeaveOneGroupOut
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    x, t = features(responses, least=2), np.asarray(targets, float)
    t = t.reshape(len(t), -1)
    if not len(x) == len(t) == len(groups):
        raise DataError(f"needs one length, got {len(x)}, {len(t)} and {len(groups)}")
    if len(np.unique(groups)) < 2:
        raise DataError("needs at least two groups, to leave one out")
    missed = spread = 0.0
    for train, test in LeaveOneGroupOut().split(x, groups=groups):
        model = make_pipeline(StandardScaler(), Ridge(alpha)).fit(x[train], t[train])
        missed += float(((t[test] - model.predict(x[test]).reshape(len(test), -1)) ** 2).sum())
        spread += float(((t[test] - t[train].mean(0)) ** 2).sum())
    return 1 - missed / spread if spread > 0 else float("nan")


class LinearReadout:
    """Accuracy of a linear decoder of labels from one layer.

    Fitted on a stratified part and judged on the rest; with `train` in the data, a mask of the
    samples, on those and the others: so related samples can be kept on one side.
    """

    needs: tuple[str, ...] = ("activations", "labels")

    def __init__(
        self, c: float = 1.0, components: int | None = None, test: float = 0.3, seed: int = 0
    ) -> None:
        self.c, self.components, self.test, self.seed = c, components, test, seed

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalars `accuracy`, `probability` and `chance`; array `confusion`."""
        from sklearn.exceptions import ConvergenceWarning

        x, y = _labelled(given(data, "activations"), given(data, "labels"))
        train = self._train(data, y)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", ConvergenceWarning)
            readout = fit_readout(x[train], y[train], c=self.c, components=self.components)
        found = score(readout, x[~train], y[~train])
        notes = tuple({str(w.message).partition("\n")[0] for w in caught})

        def draw(ax: Axes) -> None:
            shares = found.confusion / np.maximum(found.confusion.sum(1, keepdims=True), 1)
            image = ax.imshow(shares, cmap="viridis", vmin=0, vmax=1, interpolation="none")
            ax.figure.colorbar(image, ax=ax, label="share of the true class")
            ax.set(xlabel="decoded class", ylabel="true class")

        scalars = {
            "accuracy": found.accuracy,
            "probability": found.probability,
            "chance": found.chance,
        }
        return Result(scalars, {"confusion": found.confusion}, draw, notes)

    def _train(self, data: Mapping[str, np.ndarray], y: np.ndarray) -> np.ndarray:
        from sklearn.model_selection import train_test_split

        if "train" in data:
            train = np.asarray(data["train"], bool).reshape(-1)
            if len(train) != len(y) or train.all() or not train.any():
                raise DataError(f"train must mark some of the {len(y)} samples and leave others")
            return train
        train = np.zeros(len(y), bool)
        try:
            chosen, _ = train_test_split(
                np.arange(len(y)), test_size=self.test, random_state=self.seed, stratify=y
            )
        except ValueError as error:
            raise DataError(f"too few samples of a class to hold some out: {error}") from error
        train[chosen] = True
        return train


def _labelled(responses: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    x, y = features(responses, least=2), np.asarray(labels).reshape(-1)
    if len(x) != len(y):
        raise DataError(f"needs one label per response, got {len(y)} for {len(x)}")
    return x, y
