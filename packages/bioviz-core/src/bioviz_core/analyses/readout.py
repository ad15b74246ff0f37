"""Linear read-outs of frozen responses, on scikit-learn.

readout = fit_readout(train_responses, train_labels)
score(readout, test_responses, test_labels).accuracy
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.decomposition import PCA
from sklearn.dummy import DummyRegressor
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import confusion_matrix
from sklearn.model_selection import LeaveOneGroupOut, cross_val_predict, train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from bioviz_core.analyses.responses import given, heatmap, paired, ratio
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Result


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
    x, y = paired(responses, labels)
    if len(np.unique(y)) < 2:
        raise DataError("needs at least two classes to tell apart")
    reduce = PCA(min(components, *x.shape), svd_solver="full") if components else "passthrough"
    decode = LogisticRegression(C=c, max_iter=max_steps)
    return make_pipeline(StandardScaler(), reduce, decode).fit(x, y)


def score(readout: Pipeline, responses: np.ndarray, labels: np.ndarray) -> Decoded:
    """How well a read-out decodes responses that it was not fitted to."""
    x, y = paired(responses, labels)
    classes = np.asarray(readout.classes_)
    if strange := sorted(set(y.tolist()) - set(classes.tolist())):
        raise DataError(f"the read-out was fitted without the classes {strange}")
    chances = readout.predict_proba(x)
    place = np.searchsorted(classes, y)
    confusion = confusion_matrix(y, classes[chances.argmax(1)], labels=classes)
    return Decoded(
        accuracy=float(np.trace(confusion) / len(y)),
        probability=float(chances[np.arange(len(y)), place].mean()),
        chance=float(confusion.sum(1).max() / len(y)),
        confusion=confusion,
        classes=classes,
    )


def ridge_r2(
    responses: np.ndarray, targets: np.ndarray, groups: np.ndarray, *, alpha: float = 1.0
) -> float:
    """Share of the targets' variance that ridge regression explains in groups it never saw.

    `1 - |T - T_hat|^2 / |T - mean|^2` with each group left out once; standardized responses; the
    mean is that of the other groups. 0 is no better than the mean, below it worse.
    """
    x, groups = paired(responses, groups)
    if len(np.unique(groups)) < 2 or len(targets) != len(x):
        raise DataError(
            f"needs a target for each of {len(x)} responses, and at least two groups, to leave one "
            f"out; got {len(targets)} targets and {len(np.unique(groups))} groups"
        )
    left = [
        targets - cross_val_predict(model, x, targets, groups=groups, cv=LeaveOneGroupOut())
        for model in (make_pipeline(StandardScaler(), Ridge(alpha)), DummyRegressor())
    ]
    return 1 - float(ratio(*((rest**2).sum() for rest in left)))


@dataclass(frozen=True)
class LinearReadout:
    """Accuracy of a linear decoder of labels from one layer: part fits it, the rest judges it."""

    c: float = 1.0
    components: int | None = None
    test: float = 0.3
    seed: int = 0
    needs = ("activations", "labels")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalars `accuracy`, `probability` and `chance`; array `confusion`."""
        x, y = paired(given(data, "activations"), given(data, "labels"))
        try:
            x, x_test, y, y_test = train_test_split(
                x, y, test_size=self.test, random_state=self.seed, stratify=y
            )
        except ValueError as error:
            raise DataError(f"too few samples of a class to hold some out: {error}") from error
        found = score(fit_readout(x, y, c=self.c, components=self.components), x_test, y_test)
        shares = ratio(found.confusion, found.confusion.sum(1, keepdims=True))
        labels = {"xlabel": "decoded class", "ylabel": "true class"}
        draw = heatmap(shares, "share of the true class", **labels)
        scalars = {name: getattr(found, name) for name in ("accuracy", "probability", "chance")}
        return Result(scalars, {"confusion": found.confusion}, draw)
