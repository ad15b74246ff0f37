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
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Literal

import numpy as np

from bioviz_core.errors import MissingDependencyError
from bioviz_core.interfaces import Claim, Measured, Part

Word = Literal[
    "holds",
    "broken",
    "reproduced",
    "reproduced at reduced scale",
    "refuted",
    "inconclusive",
    "not judged",
    "needs data",
    "needs weights",
]
PASSED = ("holds", "reproduced", "reproduced at reduced scale")
MISSED = ("broken", "refuted")

BOOTSTRAP_FROM = 20  # seeds
RESAMPLES = 10_000
MISSING_ALLOWED = 0.2


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
    word: Word
    if certificate:
        word = "holds" if all(part.passed for part in parts) else "broken"
    elif all(part.metric not in values for part in claim.parts):
        word = "not judged"
        word = "needs data" if "needs data" in claim.tags else word
        word = "needs weights" if "needs weights" in claim.tags else word
    elif preset == "smoke":
        word = "not judged"
    elif any(part.passed is False for part in parts):
        word = "refuted"
    elif all(part.passed for part in parts):
        full = preset == "paper" and "crossing" not in claim.tags
        word = "reproduced" if full else "reproduced at reduced scale"
    else:
        word = "inconclusive"
    return Verdict(claim.id, claim.sentence, claim.source, word, claim.tags, parts)


def tally(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many `hold`, were `missed`, and each of the words that decide nothing; no zeros."""
    counts: dict[str, int] = {}
    for verdict in verdicts:
        word: str = verdict.verdict
        word = "hold" if word in PASSED else "missed" if word in MISSED else word
        counts[word] = counts.get(word, 0) + 1
    order = ("hold", "missed", "inconclusive", "not judged", "needs data", "needs weights")
    return {word: counts[word] for word in order if word in counts}


def read_verdicts(rows: Iterable[Mapping[str, Any]]) -> tuple[Verdict, ...]:
    """Verdicts from the dicts that `dataclasses.asdict` made of them."""
    found = []
    for row in rows:
        parts = [{**part, "values": tuple(part["values"])} for part in row["parts"]]
        fields = {**row, "tags": tuple(row["tags"])}
        fields["parts"] = tuple(PartVerdict(**part) for part in parts)
        found.append(Verdict(**fields))
    return tuple(found)


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Two-sided interval of the mean of at least two finite values."""
    if len(values) >= BOOTSTRAP_FROM:
        return bootstrap(values, level)
    half = _quantile(level, len(values)) * _standard_error(values)
    return float(values.mean() - half), float(values.mean() + half)


def bootstrap(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """Percentile interval of the mean, from resamples that are the same in every call."""
    rng = np.random.default_rng(list(b"claims"))
    means = values[rng.integers(len(values), size=(RESAMPLES, len(values)))].mean(1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def power_up(effect: float, sd: float, n: int) -> float:
    """Chance that the lower end passes 0 when the true effect is `effect` (normal differences)."""
    if sd == 0:
        return float(effect > 0)
    shift = effect * math.sqrt(n) / sd
    return float(_stats().nct.sf(_quantile(0.95, n), n - 1, shift))


def power_equal(bound: float, sd: float, n: int) -> float:
    """Chance that TOST passes when the true difference is 0 (normal differences)."""
    if sd == 0:
        return 1.0
    stats = _stats()
    # The mean over the law of the sample's own spread, at 2,000 of its quantiles.
    spread = sd * np.sqrt(stats.chi2.ppf((np.arange(2000) + 0.5) / 2000, n - 1) / (n - 1))
    room = bound - _quantile(0.90, n) * spread / math.sqrt(n)
    return float(np.maximum(2 * stats.norm.cdf(room * math.sqrt(n) / sd) - 1, 0).mean())


def _judge_part(
    part: Part, measured: Measured | None, *, seeds: int, certificate: bool
) -> PartVerdict:
    """One part: `seeds` are those that the claim declares; fewer values are missing ones."""
    raw = np.atleast_1d(np.asarray([] if measured is None else measured, float)).ravel()
    values = raw[np.isfinite(raw)]
    expected = max(len(raw), seeds, 1)
    missing = expected - len(values)
    mean = float(values.mean()) if len(values) else None
    low = high = None
    passed: bool | None = None
    notes: list[str] = []
    if part.rule == "share":
        passed, mean = _share(part, raw, values, expected)
    elif certificate or part.rule in ("exact", "<=", ">="):
        passed = bool(len(values)) and _every_case(part, raw if certificate else values)
    elif len(values) < 2:
        notes += ["one seed gives no interval"] * len(values)
    else:
        low, high = interval(values)
        passed = _by_interval(part, values, low, high)
        notes += _beside(part, values)
    if measured is None:
        notes = [f"the run returned no {part.metric!r}"]
        passed = False if certificate else None
    elif missing:
        notes.insert(0, f"{missing} of {expected} seeds missing")
        if missing > MISSING_ALLOWED * expected and not certificate:
            passed = None
    return PartVerdict(
        part.metric, part.rule, part.bound, part.unit, mean, low, high, len(values),
        tuple(float(value) if math.isfinite(value) else None for value in raw), passed,
        "; ".join(notes),
    )  # fmt: skip


def _by_interval(part: Part, values: np.ndarray, low: float, high: float) -> bool | None:
    m = float(part.bound)
    match part.rule:
        case "up":
            reproduced, refuted = low > 0 and bool(values.mean() >= m), high < m
        case ">":
            reproduced, refuted = low > m, high < m
        case "<":
            reproduced, refuted = high < m, low > m
        case "equal":
            inner = interval(values, 0.90)
            reproduced, refuted = -m < inner[0] and inner[1] < m, low > m or high < -m
        case _:
            raise _unknown(part)
    return True if reproduced else False if refuted else None


def _every_case(part: Part, values: np.ndarray) -> bool:
    """Whether the worst of the values passes; a NaN among them does not."""
    m = float(part.bound)
    match part.rule:
        case "exact":
            return bool(np.all(values == m))
        case "<=":
            return bool(np.all(values <= m))
        case ">=" | "up":
            return bool(np.all(values >= m))
        case "<":
            return bool(np.all(values < m))
        case ">":
            return bool(np.all(values > m))
        case "equal":
            return bool(np.all(np.abs(values) < m))
    raise _unknown(part)


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
    n, sd = len(values), float(values.std(ddof=1))
    if n < BOOTSTRAP_FROM:
        notes.append("bootstrap {:.3g} to {:.3g}".format(*bootstrap(values)))
    m = float(part.bound)
    if part.rule == "up" and m > 0:
        notes.append(f"power {power_up(m, sd, n):.2f} for an effect of {m:g}")
    if part.rule == "equal":
        smallest = max(abs(end) for end in interval(values, 0.90))
        notes.append(f"power {power_equal(m, sd, n):.2f} without a difference")
        notes.append(f"smallest bound that passes: {smallest:.3g}")
    return notes


def _standard_error(values: np.ndarray) -> float:
    return float(values.std(ddof=1)) / math.sqrt(len(values))


def _quantile(level: float, n: int) -> float:
    """Student's t at the upper end of a two-sided interval over n values."""
    return float(_stats().t.ppf((1 + level) / 2, n - 1))


def _stats() -> ModuleType:
    try:
        from scipy import stats
    except ImportError as error:
        raise MissingDependencyError(
            "judging over seeds needs scipy: pip install 'bioviz-core[data]'"
        ) from error
    return stats  # type: ignore[no-any-return]


def _unknown(part: Part) -> ValueError:
    return ValueError(
        f"the claim on {part.metric!r} has the rule {part.rule!r}: "
        "use up, >, <, equal, exact, <=, >= or share"
    )
