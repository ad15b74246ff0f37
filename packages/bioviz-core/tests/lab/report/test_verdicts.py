from __future__ import annotations

import pytest
from bioviz_core.interfaces import Claim, Part
from bioviz_core.lab.claims import judge
from bioviz_core.lab.report.verdicts import WIDTH, claim_row, explain


def row(rule, bound, values, *, preset="paper", tags=(), also=(), unit=""):
    claim = Claim("id", "It is so", "paper", "m", rule, bound, unit, tags=tags, also=also)
    return claim_row(judge(claim, {"m": values}, preset=preset))


def part(rule, bound, values, **options):
    return row(rule, bound, values, **options).parts[0]


@pytest.mark.parametrize(
    ("rule", "bound", "values", "measured", "asked"),
    [
        ("up", 1.2, (2.1, 2.2, 2.3), "2.20 ± 0.25 Hz", "≥ 1.2"),
        ("up", 0, (2.1, 2.2, 2.3), "2.20 ± 0.25 Hz", "> 0"),
        ("<", 3, (2.1, 2.2, 2.3), "2.20 ± 0.25 Hz", "< 3"),
        ("equal", 3, (2.1, 2.2, 2.3), "2.20 ± 0.25 Hz", "within ±3"),
        ("<=", 1e-10, (1e-12, 4.7e-11), "4.7 × 10⁻¹¹ Hz", "≤ 1 × 10⁻¹⁰"),
        (">=", 1, (3.0, 2.0), "2 Hz", "≥ 1"),
        ("exact", 0, (0.0, -3.0), "−3 Hz", "exactly 0"),
        ("share", "4/5", (1, 0, 1, 1, 1), "4 of 5", "4 of 5"),
        ("up", 1.2, 2.5, "2.5 Hz", "≥ 1.2"),
    ],
)
def test_measured_and_asked_read_as_the_rule_means(rule, bound, values, measured, asked):
    found = part(rule, bound, values, unit="Hz")
    assert (found.measured.replace("\N{NO-BREAK SPACE}", " "), found.asked) == (measured, asked)


def test_the_mark_lies_in_the_tint_where_the_claim_holds():
    cases = [("up", 1.0), (">", 1.0), ("<", 3.0), ("equal", 3.0), ("<=", 3.0), (">=", 1.0)]
    for rule, bound in cases:
        strip = part(rule, bound, (1.9, 2.0, 2.1)).strip
        assert strip.tint[0] <= strip.mark <= strip.tint[1], rule
    for rule, bound in [("up", 3.0), ("<", 1.0), ("equal", 1.0), ("<=", 1.0)]:
        strip = part(rule, bound, (1.9, 2.0, 2.1)).strip
        assert not strip.tint[0] <= strip.mark <= strip.tint[1], rule


def test_the_strip_keeps_a_quarter_as_margin_on_both_sides():
    strip = part("<=", 2.0, 1.0).strip  # mark and tick one apart: 1.5 in all
    assert (strip.mark, strip.ticks) == (round(WIDTH / 6, 1), (round(WIDTH * 5 / 6, 1),))


def test_a_value_on_the_bound_and_a_missing_value_have_a_strip():
    assert part("exact", 0.0, 0.0).strip.mark == WIDTH / 2
    assert part("up", 0.0, (float("nan"),)).strip.mark is None
    assert part("up", 0.0, (float("nan"),)).measured == "–"


def test_verdicts_are_told_apart_by_sign_and_word_and_tone():
    rows = {
        "ok": row("up", 1.0, (1.9, 2.0, 2.1), preset="laptop"),
        "no": row("up", 3.0, (1.9, 2.0, 2.1)),
        "idle": row("up", 1.0, (1.9, 2.0, 2.1), preset="smoke"),
    }
    seen = [(tone, r.tone, r.sign, r.word) for tone, r in rows.items()]
    assert seen == [
        ("ok", "ok", "✓", "reproduced at reduced scale"),
        ("no", "no", "✗", "refuted"),
        ("idle", "idle", "○", "not judged"),
    ]
    assert rows["idle"].parts[0].tone == "idle"


def test_a_part_that_fails_is_marked_beside_one_that_passes():
    both = row("<=", 1.0, 0.5, tags=("certificate",), also=(Part("k", "exact"),))
    assert [p.tone for p in both.parts] == ["ok", "no"]
    assert both.source == "certificate · paper"


def test_the_table_says_how_its_intervals_are_made():
    few = judge(Claim("a", "b", "c", "m", "up"), {"m": (1.0, 2.0, 3.0)}, preset="paper")
    many = judge(Claim("a", "b", "c", "m", "up"), {"m": range(25)}, preset="paper")
    exact = judge(Claim("a", "b", "c", "m", "exact"), {"m": 0.0}, preset="paper")
    assert "mean of 3 seeds; line: 95 % Student-t interval" in explain((few, exact))
    assert "mean of 25 seeds; line: 95 % bootstrap interval" in explain((many,))
    assert "mean of 3 to 25 seeds" in explain((few, many))
    assert explain((exact,)).startswith("Mark: the value;")
