from __future__ import annotations

import pytest
from bioviz_core.lab.report import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (38.6123, "38.61"), (0, "0"), (-1.9, "−1.9"), (150, "150"), (60000, "60\u202f000"),
        (8.1e-8, "8.1 × 10⁻⁸"), (1e-10, "1 × 10⁻¹⁰"), (2.5e12, "2.5 × 10¹²"), (None, "–"),
        (float("nan"), "–"), (float("-inf"), "−∞"), (True, "True"), ("word", "word"),
    ],
)  # fmt: skip
def test_numbers_have_at_most_four_digits(value, text):
    assert formats.number(value) == text


@pytest.mark.parametrize(
    ("mean", "half", "text"),
    [
        (2.2136, 0.0402, "2.21 ± 0.04"), (0.32, 0.207, "0.32 ± 0.21"), (14.02, 1.31, "14.0 ± 1.3"),
        (-1.9, 0.51, "−1.9 ± 0.5"), (3.0, 0.0, "3"), (1234.4, 55.0, "1234 ± 55"),
        (2.1e-8, 4e-9, "(2.1 ± 0.4) × 10⁻⁸"),
    ],
)  # fmt: skip
def test_a_mean_is_rounded_to_what_its_interval_can_tell(mean, half, text):
    assert formats.plus_minus(mean, half) == text


def test_log_ticks_are_plain_and_then_powers():
    assert [formats.tick(v) for v in (1e-5, 1e-3, 0.1, 1, 10, 30, 1e6)] == [
        *("10⁻⁵", "0.001", "0.1", "1", "10", "30", "10⁶")
    ]


def test_times_and_sizes_read_well():
    start = "2026-01-31T14:28:00+00:00"
    assert formats.elapsed(start, "2026-01-31T14:31:12+00:00") == "3 min 12 s"
    assert formats.elapsed(start, "2026-01-31T16:31:00+00:00") == "2 h 3 min"
    assert formats.elapsed(start, "2026-01-31T14:28:04.2+00:00") == "4.2 s"
    assert formats.elapsed(start, None) == ""
    assert formats.moment("soon") == "soon"
    assert [formats.size(n) for n in (12, 1200, 5_400_000)] == ["12 B", "1.2 kB", "5.4 MB"]
