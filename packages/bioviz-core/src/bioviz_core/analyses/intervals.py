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

    `p = (1 + #{null at least as extreme}) / (1 + resamples)`, so it is never 0.
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

    x = _sample(values, least=2)
    _check_level(level)
    half = stats.t.ppf((1 + level) / 2, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return Interval(float(x.mean()), float(x.mean() - half), float(x.mean() + half), len(x))


def bootstrap(
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
    statistic: Statistic = np.mean,
) -> Interval:
    """Percentile interval of `statistic(samples, axis=-1)` over units drawn with replacement.

    Too narrow below about 20 units: take `student` there.
    """
    x = _sample(values, least=2)
    _check_level(level)
    drawn = np.concatenate(
        [statistic(x[rng.integers(len(x), size=(k, len(x)))], axis=-1) for k in _chunks(resamples)]
    )
    return _percentiles(float(statistic(x, axis=-1)), drawn, level, len(x))


def hierarchical_bootstrap(
    groups: Sequence[ArrayLike],
    *,
    rng: np.random.Generator,
    level: float = 0.95,
    resamples: int = RESAMPLES,
) -> Interval:
    """Percentile interval of the mean of group means; groups (seeds) are drawn, then their units.

    Drawing units alone would take cells of one seed for independent and give an interval that is
    far too narrow.
    """
    cells = [_sample(group, least=1) for group in groups]
    if len(cells) < 2:
        raise DataError(f"a bootstrap over groups needs at least 2 of them, got {len(cells)}")
    _check_level(level)
    count = len(cells)
    # A group drawn twice draws its units twice, independently, hence one column per draw.
    chosen = rng.integers(count, size=(resamples, count))
    means = np.empty((resamples, count))
    for number, cell in enumerate(cells):
        hits = np.argwhere(chosen == number)
        rows = [
            cell[rng.integers(len(cell), size=(k, len(cell)))].mean(1) for k in _chunks(len(hits))
        ]
        means[hits[:, 0], hits[:, 1]] = np.concatenate(rows) if rows else []
    estimate = float(np.mean([cell.mean() for cell in cells]))
    return _percentiles(estimate, means.mean(1), level, count)


def permutation_test(
    a: ArrayLike,
    b: ArrayLike,
    *,
    rng: np.random.Generator,
    paired: bool = False,
    alternative: Literal["two-sided", "greater"] = "two-sided",
    resamples: int = RESAMPLES,
) -> Permuted:
    """Is the mean of `a` not that of `b`? `paired` flips signs of differences, else labels move."""
    x, y = _sample(a, least=1), _sample(b, least=1)
    if paired and len(x) != len(y):
        raise DataError(f"paired samples must have one length, got {len(x)} and {len(y)}")
    observed = float(x.mean() - y.mean())
    if paired:
        signs = rng.integers(2, size=(resamples, len(x))) * 2 - 1
        null = (signs * (x - y)).mean(1)
    else:
        pool = np.concatenate([x, y])
        drawn = rng.permuted(np.broadcast_to(pool, (resamples, len(pool))), axis=1)
        null = drawn[:, : len(x)].mean(1) - drawn[:, len(x) :].mean(1)
    return _compare(observed, null, alternative)


def trend(
    levels: ArrayLike,
    values: ArrayLike,
    *,
    rng: np.random.Generator,
    alternative: Literal["two-sided", "greater"] = "greater",
    resamples: int = RESAMPLES,
) -> Permuted:
    """Does a value rise with its level, whatever the shape? Mean Spearman correlation over units.

    `values` is `(levels,)` or `(units, levels)`. The null shuffles the levels within each unit,
    which for complete rankings is Page's test.
    """
    from scipy import stats

    x = _sample(levels, least=3)
    y = np.atleast_2d(np.asarray(values, float))
    if y.shape[-1] != len(x) or y.ndim != 2:
        raise DataError(f"values must be (units, {len(x)}) for {len(x)} levels, got {y.shape}")
    ranks = [_standardized(stats.rankdata(row)) for row in (x, *y)]
    level_ranks, value_ranks = ranks[0], np.stack(ranks[1:])
    observed = float((value_ranks @ level_ranks).mean() / len(x))
    null = np.empty(resamples)
    done = 0
    for k in _chunks(resamples):
        drawn = rng.permuted(np.broadcast_to(level_ranks, (k, *y.shape)), axis=-1)
        null[done : done + k] = np.einsum("kul,ul->k", drawn, value_ranks) / y.size
        done += k
    return _compare(observed, null, alternative)


def equivalence(values: ArrayLike, bound: float, *, alpha: float = 0.05) -> Equivalence:
    """Is the mean within `(-bound, bound)`? Two one-sided t-tests at `alpha` each (TOST)."""
    from scipy import stats

    if not bound > 0:
        raise ValueError(f"bound must be positive, got {bound}: what is too small to matter")
    x = _sample(values, least=2)
    interval = student(x, level=1 - 2 * alpha)
    error = x.std(ddof=1) / np.sqrt(len(x))
    if error == 0:
        p = float(abs(x.mean()) >= bound)
    else:
        p = float(stats.t.sf((bound - abs(x.mean())) / error, len(x) - 1))
    return Equivalence(interval, p, p < alpha)


def _sample(values: ArrayLike, *, least: int) -> np.ndarray:
    x = np.asarray(values, float)
    if x.ndim != 1 or len(x) < least:
        raise DataError(f"needs a list of at least {least} values, got the shape {x.shape}")
    if not np.isfinite(x).all():
        raise DataError(f"{np.sum(~np.isfinite(x))} of {len(x)} values are not finite: drop them")
    return x


def _check_level(level: float) -> None:
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1, got {level}. Typical: 0.95")


def _chunks(total: int, size: int = 1000) -> list[int]:
    """Resamples a thousand at a time: memory stays small for many units."""
    return [min(size, total - start) for start in range(0, total, size)]


def _standardized(x: np.ndarray) -> np.ndarray:
    spread = x.std()
    return (x - x.mean()) / spread if spread > 0 else np.zeros_like(x)


def _percentiles(estimate: float, drawn: np.ndarray, level: float, n: int) -> Interval:
    low, high = np.quantile(drawn, [(1 - level) / 2, (1 + level) / 2])
    return Interval(estimate, float(low), float(high), n)


def _compare(observed: float, null: np.ndarray, alternative: str) -> Permuted:
    # Equal statistics of another summation order must count as equal.
    slack = 1e-12 * max(abs(observed), float(np.abs(null).max(initial=0)))
    if alternative == "greater":
        extreme = null >= observed - slack
    elif alternative == "two-sided":
        extreme = np.abs(null) >= abs(observed) - slack
    else:
        raise ValueError(f"alternative must be 'two-sided' or 'greater', got {alternative!r}")
    return Permuted(observed, float((1 + extreme.sum()) / (1 + len(null))), null)
