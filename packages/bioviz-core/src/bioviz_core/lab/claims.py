"""Judging claims: the seed is the unit, the interval decides, and "unclear" is an answer.

Intervals are two-sided 95 % Student-t over seeds. From 20 seeds on they are percentile bootstraps,
which are too liberal below: without any effect their lower end passes zero in 11 % of cases at
three seeds, where 2.5 % are meant.

| rule        | reproduced                                | refuted                      |
|-------------|-------------------------------------------|------------------------------|
| `up` m      | lower end above 0 and mean at least m     | upper end below m            |
| `>` m `<` m | whole interval beyond m                   | whole interval on this side  |
| `equal` x   | 90 % interval inside (-x, x), that is TOST| 95 % interval wholly outside |
| `exact` `<=` `>=` `share` | every case; worst case; count | otherwise                    |

What is neither is inconclusive. A certificate looks at its worst case under every rule.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from bioviz_core.analyses import intervals
from bioviz_core.interfaces import Claim, Measured, Part

Passed = Literal["holds", "reproduced", "reproduced at reduced scale"]
Missed = Literal["broken", "refuted"]
Open = Literal["inconclusive", "not judged", "needs data", "needs weights"]
Word = Passed | Missed | Open
PASSED, MISSED = get_args(Passed), get_args(Missed)

BOOTSTRAP_FROM = 20  # seeds
MISSING_ALLOWED = 0.2

_EVERY_CASE: dict[str, Callable[[np.ndarray, float], np.ndarray]] = {
    "exact": np.equal,
    "<=": np.less_equal,
    ">=": np.greater_equal,
    "<": np.less,
    ">": np.greater,
    "up": np.greater_equal,
    "equal": lambda values, bound: np.abs(values) < bound,
}


@dataclass(frozen=True, slots=True)
class PartVerdict:
    """One part as measured: its mean, 95 % interval and values by seed; None is a missing value.

    `passed` is None where the numbers do not decide. A `share` has the count as its mean.
    """

    metric: str
    rule: str
    bound: float | str
    unit: str
    mean: float | None
    low: float | None
    high: float | None
    n: int
    values: tuple[float | None, ...]
    passed: bool | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Verdict:
    """A claim and what became of it."""

    id: str
    sentence: str
    source: str
    verdict: Word
    tags: tuple[str, ...]
    parts: tuple[PartVerdict, ...]


def judge(claim: Claim, values: Mapping[str, Measured], *, preset: str) -> Verdict:
    """Judge a claim on what the experiment returned: a number, or one per seed, by metric.

    NaN marks a seed that failed. `smoke` is never judged, only measured, but for certificates,
    which hold or are broken in every preset. `paper` reproduces; every other preset reproduces at
    reduced scale, and a claim tagged `crossing` no more than that. A claim tagged `needs data` or
    `needs weights` whose metrics the run did not return says so.
    """
    certificate = "certificate" in claim.tags
    parts = tuple(
        _judge_part(part, values.get(part.metric), seeds=claim.seeds, certificate=certificate)
        for part in claim.parts
    )
    passed = [part.passed for part in parts]
    word: Word = "inconclusive"
    if certificate:
        word = "holds" if all(passed) else "broken"
    elif all(part.metric not in values for part in parts):
        lacking: tuple[Open, ...] = ("needs weights", "needs data")
        word = next((need for need in lacking if need in claim.tags), "not judged")
    elif preset == "smoke":
        word = "not judged"
    elif False in passed:
        word = "refuted"
    elif all(passed):
        full = preset == "paper" and "crossing" not in claim.tags
        word = "reproduced" if full else "reproduced at reduced scale"
    return Verdict(claim.id, claim.sentence, claim.source, word, claim.tags, parts)


def tally(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many `hold`, were `missed`, and each of the words that decide nothing; no zeros."""
    words = [verdict.verdict for verdict in verdicts]
    counts = {"hold": sum(map(words.count, PASSED)), "missed": sum(map(words.count, MISSED))}
    counts |= {word: words.count(word) for word in get_args(Open)}
    return {word: count for word, count in counts.items() if count}


def read_verdicts(rows: Iterable[Mapping[str, Any]]) -> tuple[Verdict, ...]:
    """Verdicts from the dicts that `dataclasses.asdict` made of them."""
    return tuple(
        Verdict(**{**row, "tags": tuple(row["tags"]), "parts": tuple(map(_part, row["parts"]))})
        for row in rows
    )


def interval(values: np.ndarray, level: float = 0.95) -> intervals.Interval:
    """Two-sided interval of the mean of at least two finite values."""
    few = len(values) < BOOTSTRAP_FROM
    return intervals.student(values, level=level) if few else bootstrap(values, level)


def bootstrap(values: np.ndarray, level: float = 0.95) -> intervals.Interval:
    """Percentile interval of the mean, from resamples that are the same in every call."""
    return intervals.bootstrap(values, rng=np.random.default_rng(list(b"claims")), level=level)


def power_up(effect: float, sd: float, n: int) -> float:
    """Chance that the lower end passes 0 when the true effect is `effect` (normal differences)."""
    from scipy import stats

    if sd == 0:
        return float(effect > 0)
    return float(stats.nct.sf(stats.t.ppf(0.975, n - 1), n - 1, effect * math.sqrt(n) / sd))


def power_equal(bound: float, sd: float, n: int) -> float:
    """Chance that TOST passes when the true difference is 0 (normal differences)."""
    from scipy import stats

    if sd == 0:
        return 1.0
    # The mean over the law of the sample's own spread, at 2,000 of its quantiles.
    spread = np.sqrt(stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, n - 1) / (n - 1))
    room = bound * math.sqrt(n) / sd - stats.t.ppf(0.95, n - 1) * spread
    return float(np.maximum(2 * stats.norm.cdf(room) - 1, 0).mean())


def _part(row: Mapping[str, Any]) -> PartVerdict:
    return PartVerdict(**{**row, "values": tuple(row["values"])})


def _judge_part(
    part: Part, measured: Measured | None, *, seeds: int, certificate: bool
) -> PartVerdict:
    """One part: `seeds` are those that the claim declares; fewer values are missing ones."""
    if part.rule != "share" and part.rule not in _EVERY_CASE:
        known = ", ".join([*_EVERY_CASE, "share"])
        raise ValueError(f"the claim on {part.metric!r} has the rule {part.rule!r}: use {known}")
    raw = np.atleast_1d(np.asarray([] if measured is None else measured, float)).ravel()
    values = raw[np.isfinite(raw)]
    expected = max(len(raw), seeds, 1)
    missing = expected - len(values)
    mean = float(values.mean()) if len(values) else None
    low = high = passed = None
    notes: list[str] = []
    if part.rule == "share":
        passed, mean = _share(part, raw, values, expected)
    elif certificate or part.rule in ("exact", "<=", ">="):
        # A NaN passes no certificate; elsewhere its seed is missing.
        cases = raw if certificate else values
        passed = len(values) > 0 and bool(_EVERY_CASE[part.rule](cases, float(part.bound)).all())
    elif len(values) < 2:
        notes += ["one seed gives no interval"] * len(values)
    else:
        _, low, high, _ = interval(values)
        passed = _by_interval(part, values, low, high)
        notes += _beside(part, values)
    if measured is None:
        notes = [f"the run returned no {part.metric!r}"]
        passed = False if certificate else None
    elif missing:
        notes.insert(0, f"{missing} of {expected} seeds missing")
        if missing > MISSING_ALLOWED * expected and not certificate:
            passed = None
    by_seed = tuple(float(value) if math.isfinite(value) else None for value in raw)
    return PartVerdict(*part, mean, low, high, len(values), by_seed, passed, "; ".join(notes))


def _by_interval(part: Part, values: np.ndarray, low: float, high: float) -> bool | None:
    m = float(part.bound)
    above, below = low > m, high < m
    passed, refuted = (below, above) if part.rule == "<" else (above, below)
    if part.rule == "up":
        passed = low > 0 and bool(values.mean() >= m)
    if part.rule == "equal":
        inner = interval(values, 0.90)
        passed, refuted = -m < inner.low and inner.high < m, above or high < -m
    return True if passed else False if refuted else None


def _share(
    part: Part, raw: np.ndarray, values: np.ndarray, expected: int
) -> tuple[bool | None, float | None]:
    """k of n: a list counts its non-zero entries, a single number is the count itself."""
    if not len(values):
        return None, None
    k, n = (int(number) for number in str(part.bound).split("/"))
    if len(raw) == 1:
        return bool(values[0] >= k), float(values[0])
    expected = max(expected, n)
    count, asked = int(np.count_nonzero(values)), math.ceil(k * expected / n)
    possible = count + expected - len(values)
    return True if count >= asked else None if possible >= asked else False, float(count)


def _beside(part: Part, values: np.ndarray) -> list[str]:
    """What is printed beside an interval: bootstrap, power, the smallest bound that passes."""
    notes = []
    n, sd, m = len(values), float(values.std(ddof=1)), float(part.bound)
    if n < BOOTSTRAP_FROM:
        _, low, high, _ = bootstrap(values)
        notes.append(f"bootstrap {low:.3g} to {high:.3g}")
    if part.rule == "up" and m > 0:
        notes.append(f"power {power_up(m, sd, n):.2f} for an effect of {m:g}")
    if part.rule == "equal":
        inner = interval(values, 0.90)
        notes.append(f"power {power_equal(m, sd, n):.2f} without a difference")
        notes.append(f"smallest bound that passes: {max(-inner.low, inner.high):.3g}")
    return notes
