from __future__ import annotations

import json
from dataclasses import asdict

import numpy as np
import pytest
from bioviz_core.interfaces import Claim, Part
from bioviz_core.lab import claims
from bioviz_core.lab.claims import judge
from hypothesis import given
from hypothesis import strategies as st


def claim(rule: str, bound: float | str = 0.0, **options: object) -> Claim:
    return Claim("id", "It is so", "paper, fig. 1", "m", rule, bound, **options)  # type: ignore[arg-type]


def word(rule: str, bound: float | str, values: object, preset: str = "paper", **more: object):
    return judge(claim(rule, bound, **more), {"m": values}, preset=preset).verdict  # type: ignore[dict-item]


# Mean 2, s.d. 1, n = 3: 95 % interval 2 -+ 4.303/sqrt(3) = (-0.484, 4.484), 90 % (0.314, 3.686).
WIDE = (1.0, 2.0, 3.0)
# Mean 2, s.d. 0.1: 95 % interval (1.752, 2.248), 90 % (1.831, 2.169).
NARROW = (1.9, 2.0, 2.1)


@pytest.mark.parametrize(
    ("rule", "bound", "values", "expected"),
    [
        ("up", 1.5, NARROW, "reproduced"),
        ("up", 2.0, NARROW, "reproduced"),
        ("up", 2.1, NARROW, "inconclusive"),  # mean below m, upper end above it
        ("up", 2.3, NARROW, "refuted"),
        ("up", 1.5, WIDE, "inconclusive"),  # lower end below 0
        (">", 1.7, NARROW, "reproduced"),
        (">", 1.8, NARROW, "inconclusive"),
        (">", 2.3, NARROW, "refuted"),
        ("<", 2.3, NARROW, "reproduced"),
        ("<", 2.2, NARROW, "inconclusive"),
        ("<", 1.7, NARROW, "refuted"),
        ("equal", 2.2, NARROW, "reproduced"),  # the 95 % interval is not inside, the 90 % one is
        ("equal", 2.1, NARROW, "inconclusive"),
        ("equal", 1.7, NARROW, "refuted"),
        ("equal", 3.0, WIDE, "inconclusive"),
        ("exact", 0.0, (0.0, 0.0), "reproduced"),
        ("exact", 0.0, (0.0, 1e-300), "refuted"),
        ("<=", 2.1, NARROW, "reproduced"),
        ("<=", 2.0, NARROW, "refuted"),  # the worst seed decides, not the mean
        (">=", 1.9, NARROW, "reproduced"),
        (">=", 2.0, NARROW, "refuted"),
        ("share", "5/5", (1, 1, 1, 1, 1), "reproduced"),
        ("share", "4/5", (1, 1, 0, 1, 1), "reproduced"),
        ("share", "5/5", (1, 1, 0, 1, 1), "refuted"),
        ("share", "200/200", 200, "reproduced"),
        ("share", "200/200", 199, "refuted"),
        ("up", 1.0, 5.0, "inconclusive"),  # one seed has no interval
    ],
)
def test_verdicts_of_cases_solved_by_hand(rule, bound, values, expected):
    assert word(rule, bound, values) == expected


def test_interval_is_student_t_below_twenty_seeds():
    part = judge(claim("up", 1.0), {"m": WIDE}, preset="paper").parts[0]
    assert (part.mean, part.n) == (2.0, 3)
    assert (part.low, part.high) == pytest.approx((2 - 2.48414, 2 + 2.48414), abs=1e-4)


def test_interval_is_a_repeatable_bootstrap_from_twenty_seeds_on():
    values = np.random.default_rng(0).exponential(size=20)
    found = claims.interval(values)
    assert found == claims.bootstrap(values) == claims.bootstrap(values)
    half = 1.96 * values.std() / np.sqrt(20)
    assert found[1:3] == pytest.approx((values.mean() - half, values.mean() + half), abs=0.08)


def test_without_an_effect_up_passes_in_2_5_percent_of_simulated_studies():
    draws = np.random.default_rng(1).normal(size=(4000, 5))
    passed = np.mean([claims.interval(row).low > 0 for row in draws])
    assert passed == pytest.approx(0.025, abs=3 * np.sqrt(0.025 * 0.975 / 4000))


def test_at_the_bound_equal_passes_in_at_most_5_percent_of_simulated_studies():
    draws = np.random.default_rng(2).normal(1.0, 0.3, size=(1000, 8))
    words = [
        judge(claim("equal", 1.0), {"m": row}, preset="paper").verdict  # type: ignore[dict-item]
        for row in draws[:300]
    ]
    inner = [claims.interval(row, 0.90) for row in draws]
    passed = np.mean([i.low > -1 and i.high < 1 for i in inner])
    assert passed == pytest.approx(0.05, abs=3 * np.sqrt(0.05 * 0.95 / 1000))
    assert words.count("reproduced") == sum(i.low > -1 and i.high < 1 for i in inner[:300])


@pytest.mark.parametrize(
    ("n", "up", "equal"),
    [
        (3, (0.18, 0.32, 0.47, 0.74), (0.33, 0.56, 0.75, 0.88)),
        (5, (0.40, 0.71, 0.91, 1.0), (0.74, 0.95, 1.0, 1.0)),
        (8, (0.68, 0.95, 1.0, 1.0), (0.97, 1.0, 1.0, 1.0)),
        (10, (0.80, 0.99, 1.0, 1.0), (0.99, 1.0, 1.0, 1.0)),
    ],
)
def test_power_agrees_with_the_simulated_table(n, up, equal):
    assert [claims.power_up(e, 1, n) for e in (1, 1.5, 2, 3)] == pytest.approx(up, abs=0.011)
    bounds = (1.5, 2, 2.5, 3)
    assert [claims.power_equal(b, 1, n) for b in bounds] == pytest.approx(equal, abs=0.011)


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=12), st.floats(0.1, 20))
def test_shifting_a_seed_up_never_turns_greater_from_passed_to_refuted(values, m):
    order = {"refuted": 0, "inconclusive": 1, "reproduced": 2}
    before, after = (word(">", m, [v + d for v in values]) for d in (0.0, 5.0))
    assert order[after] >= order[before]


def test_smoke_is_measured_and_never_judged():
    verdict = judge(claim("up", 1.5), {"m": NARROW}, preset="smoke")
    assert verdict.verdict == "not judged"
    assert verdict.parts[0].mean == pytest.approx(2.0)


def test_laptop_reproduces_at_reduced_scale_and_a_crossing_never_more():
    assert word("up", 1.5, NARROW, "laptop") == "reproduced at reduced scale"
    assert word("up", 1.5, NARROW, "paper", tags=("crossing",)) == "reproduced at reduced scale"
    assert word("up", 3.0, NARROW, "laptop") == "refuted"


@pytest.mark.parametrize("preset", ["smoke", "laptop", "paper"])
def test_certificates_hold_or_are_broken_in_every_preset(preset):
    tags = ("certificate",)
    assert word("<=", 1e-12, 5e-13, preset, tags=tags) == "holds"
    assert word("<=", 1e-12, 2e-12, preset, tags=tags) == "broken"
    assert word(">", 1e-3, 2e-3, preset, tags=tags) == "holds"
    assert word("equal", 0.2, -0.1, preset, tags=tags) == "holds"
    assert word("equal", 0.2, -0.3, preset, tags=tags) == "broken"
    assert word("exact", 0, (0, float("nan")), preset, tags=tags) == "broken"
    assert judge(claim("exact", tags=tags), {}, preset=preset).verdict == "broken"


def test_a_claim_of_parts_needs_all_and_is_refuted_by_one():
    both = claim("up", 1.5, also=(Part("k", "<", 1.0),))
    judged = {
        k: judge(both, {"m": NARROW, "k": v}, preset="paper").verdict
        for k, v in {"ok": (0.1, 0.2), "no": (5.0, 5.1), "open": (0.0, 1.9)}.items()
    }
    assert judged == {"ok": "reproduced", "no": "refuted", "open": "inconclusive"}
    assert judge(both, {"m": NARROW}, preset="paper").verdict == "inconclusive"


def test_a_metric_that_was_not_returned_is_not_judged_and_says_so():
    verdict = judge(claim("up", 1.0), {}, preset="paper")
    assert verdict.verdict == "not judged"
    assert "'m'" in verdict.parts[0].note
    assert judge(claim("up", tags=("needs data",)), {}, preset="paper").verdict == "needs data"
    assert (
        judge(claim("up", tags=("needs weights",)), {}, preset="paper").verdict == "needs weights"
    )


def test_more_than_a_fifth_missing_is_inconclusive_under_every_rule():
    nan = float("nan")
    one, two = (2.0, 2.1, 1.9, 2.0, nan), (2.0, 2.1, 1.9, nan, nan)
    assert word("up", 1.0, one) == "reproduced"
    assert word("up", 1.0, two) == word("<=", 3.0, two) == "inconclusive"
    assert word("share", "5/5", (1, 1, 1, 1, nan)) == "inconclusive"
    assert word("share", "5/5", (1, 0, 1, 1, nan)) == "refuted"
    part = judge(claim("up", 1.0), {"m": two}, preset="paper").parts[0]
    assert (part.n, part.values[-1]) == (3, None)
    assert part.note.startswith("2 of 5 seeds missing")


def test_fewer_seeds_than_the_claim_declares_are_missing_seeds():
    assert word("up", 1.0, NARROW, seeds=5) == "inconclusive"
    assert word("up", 1.0, NARROW, seeds=3) == "reproduced"


def test_equal_reports_its_power_and_the_smallest_bound_that_passes():
    note = judge(claim("equal", 0.5), {"m": (-0.1, 0.0, 0.1)}, preset="paper").parts[0].note
    assert "smallest bound that passes: 0.169" in note
    assert "power 1.00" in note


def test_equal_seeds_have_an_interval_of_no_width():
    assert word("up", 1.0, (2.0, 2.0, 2.0)) == "reproduced"
    assert word("equal", 1.0, (0.0, 0.0)) == "reproduced"


def test_an_unknown_rule_is_named():
    with pytest.raises(ValueError, match="'at_least'"):
        word("at_least", 1.0, NARROW)


def test_verdicts_survive_json_and_are_tallied():
    nan = float("nan")
    judged = [
        judge(claim("up", 1.5), {"m": NARROW}, preset="laptop"),
        judge(claim("up", 3.0), {"m": (*NARROW, 2.0, 2.0, nan)}, preset="laptop"),
        judge(claim("exact", tags=("certificate",)), {"m": 0.0}, preset="laptop"),
        judge(claim("up", 3.0), {}, preset="laptop"),
    ]
    text = json.dumps([asdict(verdict) for verdict in judged], allow_nan=False)
    assert claims.read_verdicts(json.loads(text)) == tuple(judged)
    assert claims.tally(judged) == {"hold": 2, "missed": 1, "not judged": 1}
