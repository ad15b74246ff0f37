from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.psychophysics import (
    THRESHOLD_ACCURACY,
    Staircase,
    StaircaseState,
    fit_psychometric,
    thresholds,
)
from hypothesis import given
from hypothesis import strategies as st

OFFSETS = np.array([1.0, 3, 7, 12, 20])
FORMS: list[Literal["loglinear", "weibull"]] = ["loglinear", "weibull"]


def walk(staircase: Staircase, start: float, accuracies: list[float]) -> list[float]:
    state, offsets = staircase.start(start), []
    for accuracy in accuracies:
        state = staircase.update(state, accuracy)
        offsets.append(state.offset)
    return offsets


def test_three_passes_go_down_and_the_count_starts_anew() -> None:
    assert walk(Staircase(), 4.0, [0.8] * 7) == [4.0, 4.0, 3.9, 3.9, 3.9, 3.8, 3.8]


def test_a_fail_goes_up_at_once_and_forgets_the_passes() -> None:
    assert walk(Staircase(), 4.0, [0.8, 0.8, 0.7, 0.8, 0.8, 0.8]) == [4.0, 4.0, 4.1, 4.1, 4.1, 4.0]


def test_the_criterion_itself_is_a_pass() -> None:
    assert Staircase().update(StaircaseState(4.0), 0.75).passes == 1


def test_the_legacy_staircase_goes_down_at_every_pass_from_the_third_and_below_zero() -> None:
    legacy = Staircase(legacy=True)
    assert walk(legacy, 4.0, [0.8] * 5) == [4.0, 4.0, 3.9, 3.8, 3.7]
    assert walk(legacy, 0.1, [1.0] * 4)[-1] < 0


@given(st.lists(st.floats(0, 1), max_size=60), st.floats(-5, 30))
def test_offsets_stay_within_the_limits_and_move_by_one_step(
    accuracies: list[float], start: float
) -> None:
    staircase = Staircase()
    path = [staircase.start(start).offset, *walk(staircase, start, accuracies)]
    assert all(0.1 <= offset <= 10 for offset in path)
    assert all(abs(change) <= 0.1 + 1e-9 for change in np.diff(path))


def test_an_observer_is_followed_to_where_it_passes_three_blocks_in_a_row_half_of_the_time() -> (
    None
):
    # 3-down-1-up on single trials: p^3 = 1/2 at the target, p = 0.794.
    rng = np.random.default_rng(0)
    staircase = Staircase(criterion=1.0, cap=40)
    state, offsets = staircase.start(10), []
    for _ in range(30_000):
        p = 0.5 + state.offset / 40
        state = staircase.update(state, float(rng.random() < p))
        offsets.append(state.offset)
    assert 0.5 + np.mean(offsets[2000:]) / 40 == pytest.approx(0.5 ** (1 / 3), abs=0.01)


@pytest.mark.parametrize(
    "wrong", [{"step": 0}, {"floor": 11}, {"criterion": 1.5}, {"down_after": 0}]
)
def test_a_staircase_that_leads_nowhere_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ParameterError):
        Staircase(**wrong)


@pytest.mark.parametrize("accuracy", [-0.1, 1.1, float("nan")])
def test_an_accuracy_that_is_none_is_refused(accuracy: float) -> None:
    with pytest.raises(ParameterError, match="between 0 and 1"):
        Staircase().update(StaircaseState(4.0), accuracy)


def test_a_line_over_log_offset_is_found_again_and_solved() -> None:
    total = 10**8
    p = 0.12 * np.log(OFFSETS) + 0.52
    fit = fit_psychometric(OFFSETS, np.round(p * total), total)
    assert fit.slope == pytest.approx(0.12, abs=1e-6)
    assert fit.threshold == pytest.approx(np.exp((THRESHOLD_ACCURACY - 0.52) / 0.12), rel=1e-6)
    assert fit.accuracy(fit.threshold) == pytest.approx(THRESHOLD_ACCURACY)
    assert fit.reached


def test_a_weibull_function_is_found_again_and_solved() -> None:
    total, alpha, beta = 10**8, 6.0, 1.3
    p = 1 - np.exp(-((OFFSETS / alpha) ** beta)) / 2
    fit = fit_psychometric(OFFSETS, np.round(p * total), total, model="weibull")
    assert fit.slope == pytest.approx(beta, abs=1e-5)
    assert fit.threshold == pytest.approx(alpha * (-np.log(0.502)) ** (1 / beta), rel=1e-5)
    assert fit.accuracy(fit.threshold) == pytest.approx(THRESHOLD_ACCURACY)


@pytest.mark.parametrize("form", FORMS)
def test_a_threshold_below_one_degree_is_possible(form: Literal["loglinear", "weibull"]) -> None:
    fit = fit_psychometric([0.25, 0.5, 1, 2], [60, 78, 95, 99], 100, model=form)
    assert 0.3 < fit.threshold < 0.6


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("correct", [[90, 80, 70, 60, 55], [50, 50, 50, 50, 50]])
def test_accuracy_that_does_not_rise_has_an_infinite_threshold_and_a_flag(
    correct: list[int], form: Literal["loglinear", "weibull"]
) -> None:
    fit = fit_psychometric(OFFSETS, correct, 100, model=form)
    assert fit.threshold == np.inf
    assert not fit.reached


def test_a_threshold_beyond_90_degrees_is_infinite_with_a_flag() -> None:
    fit = fit_psychometric(OFFSETS, [50, 51, 51, 52, 52], 100)
    assert fit.slope > 0
    assert (fit.threshold, fit.reached) == (np.inf, False)


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_the_interval_covers_the_true_threshold_as_often_as_it_says(
    form: Literal["loglinear", "weibull"],
) -> None:
    rng = np.random.default_rng(1)
    weibull = form == "weibull"
    p = 1 - np.exp(-OFFSETS / 6) / 2 if weibull else 0.12 * np.log(OFFSETS) + 0.52
    truth = float(thresholds(OFFSETS, p * 1e9, 1e9, form=form)[0])
    inside = 0
    for _ in range(20):
        fit = fit_psychometric(OFFSETS, rng.binomial(60, p), 60, model=form)
        found = fit.interval(rng=rng, level=0.9)
        assert found.low <= found.estimate <= found.high
        inside += found.low <= truth <= found.high
    assert inside >= 15  # of 20 at 90 %: fewer has a chance of 1 %


def test_an_interval_that_reaches_beyond_90_degrees_ends_at_infinity() -> None:
    fit = fit_psychometric(OFFSETS, [10, 11, 12, 13, 14], 20)
    assert fit.interval(rng=np.random.default_rng(0)).high == np.inf


@given(
    st.lists(st.integers(0, 50), min_size=5, max_size=5),
    st.floats(0.2, 4),
    st.sampled_from(FORMS),
)
def test_the_threshold_scales_with_the_unit_of_offsets(
    correct: list[int], scale: float, form: Literal["loglinear", "weibull"]
) -> None:
    one = thresholds(OFFSETS, correct, 50, form=form)[0]
    other = thresholds(scale * OFFSETS, correct, 50, form=form)[0]
    assert not np.isnan(one)
    if np.isfinite(one) and np.isfinite(other):
        assert other == pytest.approx(scale * one, rel=1e-6)


def test_many_functions_are_fitted_as_one_by_one() -> None:
    correct = np.random.default_rng(2).integers(40, 100, (6, 5))
    together = thresholds(OFFSETS, correct, 100)[0]
    one_by_one = [fit_psychometric(OFFSETS, row, 100).threshold for row in correct]
    np.testing.assert_allclose(together, one_by_one, rtol=1e-12)


@pytest.mark.parametrize(
    ("offsets", "correct", "total", "said"),
    [
        ([1.0, 0.0], [5, 6], 10, "positive"),
        ([1.0, 1.0], [5, 6], 10, "two different"),
        ([1.0, 2.0], [5, 11], 10, "between 0 and total"),
        ([1.0, 2.0], [5, -1], 10, "between 0 and total"),
        ([1.0, 2.0], [0.5, 0.7], 1, "counts"),
        ([1.0, 2.0], [5], 10, "two different"),
    ],
)
def test_counts_that_make_no_sense_are_refused(
    offsets: list[float], correct: list[float], total: int, said: str
) -> None:
    with pytest.raises(ParameterError, match=said):
        fit_psychometric(offsets, correct, total)
