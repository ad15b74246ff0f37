"""Intervals and tests: Student-t, bootstrap, permutation, monotone trend, equivalence.

The unit of a value is whatever was drawn independently, which for a model is the seed: average
images, cells and episodes first, or give them to `hierarchical_bootstrap` as units within seeds.
Randomness is always the caller's `rng`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.errors import DataError

RESAMPLES = 10_000

Statistic = Callable[..., np.ndarray]


class Interval(NamedTuple):
    """An estimate with the ends of its interval; `n` is how many units it rests on."""

    estimate: float
    low: float
    high: float
    n: int


class Permuted(NamedTuple):
    """An observed statistic, what it was under permutation, and how rarely as extreme there.

    Where there are fewer permutations than resamples all of them are taken, and `p` is exact; else
    `p = (1 + #{null at least as extreme}) / (1 + resamples)`. It is never 0.
    """

    observed: float
    p: float
    null: np.ndarray


class Equivalence(NamedTuple):
    """Two one-sided t-tests: equivalent where the `1 - 2 alpha` interval lies within the bound."""

    interval: Interval
    p: float
    equivalent: bool


def student(values: ArrayLike, *, level: float = 0.95) -> Interval:
    """`mean +- t sd / sqrt(n)`, two-sided, with t of n - 1 degrees of freedom."""
    from scipy import stats

    x = _sample(values, least=2, level=level)
    half = stats.t.ppf((1 + level) / 2, len(x) - 1) * stats.sem(x)
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def bootstrap(
    values: ArrayLike, *, rng: np.random.Generator, level: float = 0.95,
    statistic: Statistic = np.mean,
) -> Interval:  # fmt: skip
    """Percentile interval of `statistic(samples, axis=-1)` over units drawn with replacement.

    Too narrow below about 20 units: take `student` there.
    """
    from scipy import stats

    x = _sample(values, least=2, level=level)
    options = {"n_resamples": RESAMPLES, "batch": 1000, "method": "percentile", "rng": rng}
    found = stats.bootstrap((x,), statistic, confidence_level=level, **options)
    low, high = found.confidence_interval
    return Interval(float(statistic(x, axis=-1)), float(low), float(high), len(x))


def hierarchical_bootstrap(
    groups: Sequence[ArrayLike],
    *,
    rng: np.random.Generator,
    level: float = 0.95,
) -> Interval:
    """Percentile interval of the mean of group means; groups (seeds) are drawn, then their units.

    Drawing units alone would take cells of one seed for independent and give an interval that is
    far too narrow.
    """
    cells = [_sample(group, least=1) for group in groups]
    centers = _sample([cell.mean() for cell in cells], least=2, level=level)
    # A group drawn twice draws its units twice, independently, hence one column per draw.
    chosen = rng.integers(len(cells), size=(RESAMPLES, len(cells)))
    means = np.empty(chosen.shape)
    for number, cell in enumerate(cells):
        here = chosen == number
        means[here] = cell[rng.integers(len(cell), size=(here.sum(), len(cell)))].mean(1)
    low, high = np.quantile(means.mean(1), [(1 - level) / 2, (1 + level) / 2])
    return Interval(float(centers.mean()), float(low), float(high), len(cells))


def permutation_test(
    a: ArrayLike, b: ArrayLike, *, rng: np.random.Generator, paired: bool = False,
    alternative: Literal["two-sided", "greater"] = "two-sided",
) -> Permuted:  # fmt: skip
    """Is the mean of `a` not that of `b`? `paired` flips signs of differences, else labels move."""
    from scipy import stats

    x, y = _sample(a, least=2), _sample(b, least=2)
    if paired and len(x) != len(y):
        raise DataError(f"paired samples must have one length, got {len(x)} and {len(y)}")
    options = {"n_resamples": RESAMPLES, "batch": 1000, "alternative": alternative, "rng": rng}
    found = stats.permutation_test(
        (x, y), _difference, permutation_type="samples" if paired else "independent", **options
    )
    return Permuted(float(found.statistic), float(found.pvalue), found.null_distribution)


def trend(levels: ArrayLike, values: ArrayLike, *, rng: np.random.Generator) -> Permuted:
    """Does a value rise with its level, whatever the shape? Mean Spearman correlation over units.

    `values` is `(levels,)` or `(units, levels)`. The null shuffles the levels within each unit,
    which for complete rankings is Page's test, one-sided.
    """
    from scipy import stats

    x, y = _sample(levels, least=3), np.atleast_2d(np.asarray(values, float))
    if y.shape[1:] != x.shape:
        raise DataError(f"values must be (units, {len(x)}) for {len(x)} levels, got {y.shape}")
    ranks = stats.rankdata(np.vstack([x, y]), axis=1)
    ranks -= ranks.mean(1, keepdims=True)
    norms = np.linalg.norm(ranks, axis=1, keepdims=True)
    level_ranks, *value_ranks = ranks / np.where(norms > 0, norms, 1)
    observed = float(np.mean(value_ranks @ level_ranks))
    shuffled = rng.permuted(np.broadcast_to(level_ranks, (RESAMPLES, *y.shape)), axis=-1)
    null = np.einsum("kul,ul->k", shuffled, value_ranks) / len(y)
    # Equal statistics of another summation order must count as equal.
    as_large = int((null >= observed - 1e-12).sum())
    return Permuted(observed, (1 + as_large) / (1 + RESAMPLES), null)


def equivalence(values: ArrayLike, bound: float, *, alpha: float = 0.05) -> Equivalence:
    """Is the mean within `(-bound, bound)`? Two one-sided t-tests at `alpha` each (TOST)."""
    from scipy import stats

    if not bound > 0:
        raise ValueError(f"bound must be positive, got {bound}: what is too small to matter")
    x = _sample(values, least=2)
    room, error = bound - abs(x.mean()), stats.sem(x)
    # Equal values have no error: they are within the bound for certain, or not.
    p = float(stats.t.sf(room / error, len(x) - 1)) if error else float(room <= 0)
    return Equivalence(student(x, level=1 - 2 * alpha), p, p < alpha)


def _difference(x: np.ndarray, y: np.ndarray, axis: int) -> np.ndarray:
    return np.asarray(x.mean(axis) - y.mean(axis))


def _sample(values: ArrayLike, *, least: int, level: float = 0.95) -> np.ndarray:
    x = np.asarray(values, float)
    if x.ndim != 1 or len(x) < least:
        raise DataError(f"needs a list of at least {least} values, got the shape {x.shape}")
    if not np.isfinite(x).all():
        raise DataError(f"{np.sum(~np.isfinite(x))} of {len(x)} values are not finite: drop them")
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}. Typical: 0.95")
    return x
