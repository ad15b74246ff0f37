from __future__ import annotations

import itertools

import numpy as np
import pytest
from bioviz_core.analyses.intervals import (
    bootstrap,
    equivalence,
    hierarchical_bootstrap,
    permutation_test,
    student,
    trend,
)
from bioviz_core.errors import DataError
from scipy import stats

VALUES = np.array([1.3, 0.2, 2.9, 1.1, 0.7, 1.6])


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(1)


def test_student_is_scipys_interval() -> None:
    expected = stats.ttest_1samp(VALUES, 0).confidence_interval(0.9)
    found = student(VALUES, level=0.9)
    np.testing.assert_allclose((found.low, found.high), (expected.low, expected.high), rtol=1e-12)
    assert found.estimate == pytest.approx(VALUES.mean())
    assert found.n == 6


def test_student_of_two_values_is_the_cauchy_quantile() -> None:
    # n = 2: t is Cauchy, its 0.975 quantile tan(0.475 pi); mean 1, standard error 1
    assert student([0, 2]).high == pytest.approx(1 + np.tan(0.475 * np.pi))


def test_bootstrap_is_scipys_percentile_interval(rng: np.random.Generator) -> None:
    mine = bootstrap(VALUES, rng=rng, statistic=np.median)
    theirs = stats.bootstrap(
        (VALUES,), np.median, method="percentile", n_resamples=20_000, rng=np.random.default_rng(2)
    ).confidence_interval
    assert mine.estimate == pytest.approx(np.median(VALUES))
    assert (mine.low, mine.high) == pytest.approx((theirs.low, theirs.high), abs=0.06)


def test_bootstrap_approaches_the_normal_interval_of_many_values(rng: np.random.Generator) -> None:
    x = rng.normal(size=2000)
    found = bootstrap(x, rng=rng)
    assert found.high - found.low == pytest.approx(2 * 1.96 * x.std() / np.sqrt(2000), rel=0.03)


def test_hierarchical_bootstrap_knows_that_units_of_a_seed_are_not_independent(
    rng: np.random.Generator,
) -> None:
    # Six seeds 1 apart on average, with 50 units each that agree within 0.01.
    groups = [value + 0.01 * rng.normal(size=50) for value in VALUES]
    whole = hierarchical_bootstrap(groups, rng=rng)
    of_seeds = bootstrap([group.mean() for group in groups], rng=rng)
    of_units = bootstrap(np.concatenate(groups), rng=rng)
    assert (whole.low, whole.high) == pytest.approx((of_seeds.low, of_seeds.high), abs=0.05)
    assert of_units.high - of_units.low < 0.2 * (whole.high - whole.low)


def test_hierarchical_bootstrap_has_the_variance_of_both_levels(rng: np.random.Generator) -> None:
    # Seeds of equal mean: what remains is the unit's variance, var / units / seeds.
    groups = [np.repeat([-1.0, 1.0], 20)] * 5
    found = hierarchical_bootstrap(groups, rng=rng)
    assert found.estimate == 0
    assert found.high == pytest.approx(1.96 * np.sqrt(1 / 40 / 5), rel=0.05)


def test_groups_may_differ_in_size(rng: np.random.Generator) -> None:
    found = hierarchical_bootstrap([[1.0], [3.0, 3.0, 3.0]], rng=rng)
    assert (found.estimate, found.low, found.high, found.n) == (2.0, 1.0, 3.0, 2)


def test_paired_permutation_has_the_exact_p(rng: np.random.Generator) -> None:
    a, b = VALUES, VALUES - 0.5
    # All six differences are equal and positive: 1 of 2^6 sign patterns is as large.
    found = permutation_test(a, b, rng=rng, paired=True, alternative="greater")
    assert found.p == pytest.approx(1 / 64, rel=0.1)
    two = permutation_test(a, b, rng=rng, paired=True)
    assert two.p == pytest.approx(2 / 64, rel=0.1)


def test_unpaired_permutation_has_the_exact_p(rng: np.random.Generator) -> None:
    a, b = np.array([2.0, 3.5, 4.0]), np.array([1.0, 2.5, 3.0, 0.5])
    pool = np.concatenate([a, b])
    as_large = [
        np.mean(pool[list(chosen)]) - np.mean(np.delete(pool, chosen)) >= a.mean() - b.mean() - 1e-9
        for chosen in itertools.combinations(range(7), 3)
    ]
    found = permutation_test(a, b, rng=rng, alternative="greater")
    assert found.p == pytest.approx(np.mean(as_large), rel=0.1)
    assert found.null.mean() == pytest.approx(0, abs=0.05)


def test_a_rising_series_has_p_one_over_the_orders(rng: np.random.Generator) -> None:
    found = trend([1, 2, 3, 4], [0.1, 0.2, 5.0, 5.1], rng=rng)
    assert found.observed == pytest.approx(1)
    assert found.p == pytest.approx(1 / 24, rel=0.1)


def test_trend_is_mean_spearman_and_pages_test(rng: np.random.Generator) -> None:
    levels = np.array([0.1, 0.2, 0.8, 1.6])
    values = rng.normal(size=(6, 4)) + 0.3 * np.arange(4)
    found = trend(levels, values, rng=rng)
    assert found.observed == pytest.approx(
        np.mean([stats.spearmanr(levels, row).statistic for row in values])
    )
    assert found.p == pytest.approx(stats.page_trend_test(values, method="exact").pvalue, abs=0.01)


def test_a_flat_series_has_no_trend(rng: np.random.Generator) -> None:
    found = trend([1, 2, 3], [[4.0, 4.0, 4.0]], rng=rng)
    assert (found.observed, found.p) == (0.0, 1.0)


def test_equivalence_is_the_larger_of_two_one_sided_tests() -> None:
    x = VALUES - VALUES.mean() + 0.1
    found = equivalence(x, 1.2)
    below = stats.ttest_1samp(x, 1.2, alternative="less").pvalue
    above = stats.ttest_1samp(x, -1.2, alternative="greater").pvalue
    assert found.p == pytest.approx(max(below, above), rel=1e-12)


@pytest.mark.parametrize("bound", [0.3, 0.7, 0.85, 1.2, 3.0])
def test_equivalent_is_when_the_90_percent_interval_lies_inside(bound: float) -> None:
    found = equivalence(VALUES - 1, bound)
    assert found.equivalent == (-bound < found.interval.low and found.interval.high < bound)


def test_equal_values_are_equivalent_within_any_bound_beyond_them() -> None:
    assert equivalence([0.1, 0.1], 0.2).equivalent
    assert not equivalence([0.1, 0.1], 0.1).equivalent


def test_intervals_repeat_with_the_seed() -> None:
    first, second = (bootstrap(VALUES, rng=np.random.default_rng(3)) for _ in range(2))
    assert first == second


def test_what_has_no_interval_is_refused(rng: np.random.Generator) -> None:
    with pytest.raises(DataError, match="at least 2"):
        student([1.0])
    with pytest.raises(DataError, match="1 of 2 values are not finite"):
        bootstrap([1.0, np.nan], rng=rng)
    with pytest.raises(DataError, match="at least 2"):
        hierarchical_bootstrap([[1.0, 2.0]], rng=rng)
    with pytest.raises(DataError, match="one length"):
        permutation_test([1.0, 2.0, 3.0], [1.0, 2.0], rng=rng, paired=True)
    with pytest.raises(DataError, match=r"\(units, 3\)"):
        trend([1, 2, 3], [1.0, 2.0], rng=rng)
    with pytest.raises(ValueError, match="bound must be positive"):
        equivalence([1.0, 2.0], 0)
    with pytest.raises(ValueError, match="level"):
        student([1.0, 2.0], level=95)
    with pytest.raises(ValueError, match="alternative"):
        permutation_test([1.0, 2.0], [1.0, 2.0], rng=rng, alternative="more")
