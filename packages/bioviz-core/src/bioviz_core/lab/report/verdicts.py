"""The rows of the claims table: where each part fell, measured, asked, and the verdict's chip."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from bioviz_core.lab.claims import BOOTSTRAP_FROM, MISSED, PASSED, PartVerdict, Verdict
from bioviz_core.lab.report.formats import ABSENT, number, plus_minus, with_unit

Tone = Literal["ok", "no", "idle"]
_SIGN = {"ok": "✓", "no": "✗", "idle": "○"}
_ASKED = {"up": "≥", ">=": "≥", "<=": "≤", ">": ">", "<": "<", "equal": "within ±"}

WIDTH = 144.0


@dataclass(frozen=True, slots=True)
class Strip:
    """A part on a line 144 x 24: the span that passes, thresholds, interval and mark."""

    tint: tuple[float, float]
    ticks: tuple[float, ...]
    mark: float | None
    span: tuple[float, float] | None
    alt: str


@dataclass(frozen=True, slots=True)
class PartRow:
    """One part as text and drawing."""

    metric: str
    measured: str
    asked: str
    tone: Tone
    strip: Strip
    note: str


@dataclass(frozen=True, slots=True)
class ClaimRow:
    """One claim as the table shows it."""

    id: str
    sentence: str
    source: str
    word: str
    sign: str
    tone: Tone
    parts: tuple[PartRow, ...]


def claim_row(verdict: Verdict) -> ClaimRow:
    """A verdict made ready for the table."""
    tone: Tone = (
        "ok" if verdict.verdict in PASSED else "no" if verdict.verdict in MISSED else "idle"
    )
    source = " · ".join(
        filter(None, ["certificate" * ("certificate" in verdict.tags), verdict.source])
    )
    judged = tone != "idle" or verdict.verdict == "inconclusive"
    parts = tuple(_part_row(part, judged) for part in verdict.parts)
    return ClaimRow(verdict.id, verdict.sentence, source, verdict.verdict, _SIGN[tone], tone, parts)


def explain(verdicts: tuple[Verdict, ...]) -> str:
    """What mark and line are in this table, said once above it."""
    counts = [part.n for verdict in verdicts for part in verdict.parts if part.low is not None]
    if not counts:
        return "Mark: the value; tinted: where the claim holds."
    low, high = min(counts), max(counts)
    kind = "bootstrap" if low >= BOOTSTRAP_FROM else "Student-t"
    seeds = str(low) if low == high else f"{low} to {high}"
    return (
        f"Mark: mean of {seeds} seeds; line: 95 % {kind} interval; tinted: where the claim holds."
    )


def measured(part: PartVerdict) -> str:
    """A part's value with its interval; the worst one where the worst decides."""
    values = [value for value in part.values if value is not None]
    if part.mean is None:
        return ABSENT
    if part.rule == "share":
        return f"{number(part.mean)} of {str(part.bound).partition('/')[2]}"
    if part.low is None or part.high is None:
        return with_unit(number(_worst(part, values)), part.unit)
    if part.n < BOOTSTRAP_FROM:
        return with_unit(plus_minus(part.mean, (part.high - part.low) / 2), part.unit)
    span = f"{number(part.mean, 3)} ({number(part.low, 3)} to {number(part.high, 3)})"
    return with_unit(span, part.unit)


def asked(part: PartVerdict) -> str:
    """What the rule asks, in a sign and a number."""
    if part.rule == "share":
        return str(part.bound).replace("/", " of ")
    bound = number(float(part.bound))
    if part.rule == "exact":
        return f"exactly {bound}"
    if part.rule == "up" and float(part.bound) == 0:
        return "> 0"
    sign = _ASKED[part.rule]
    return f"{sign}{'' if part.rule == 'equal' else ' '}{bound}"


def _worst(part: PartVerdict, values: list[float]) -> float:
    if part.rule in ("<=", "<"):
        return max(values)
    if part.rule in (">=", ">", "up"):
        return min(values)
    about = float(part.bound) if part.rule == "exact" else 0.0
    return max(values, key=lambda value: abs(value - about))


def _part_row(part: PartVerdict, judged: bool) -> PartRow:
    tone: Tone = "idle"
    if judged and part.passed is not None:
        tone = "ok" if part.passed else "no"
    return PartRow(part.metric, measured(part), asked(part), tone, _strip(part), part.note)


def _strip(part: PartVerdict) -> Strip:
    values = [value for value in part.values if value is not None]
    mark: float | None = None
    if part.mean is not None:
        interval_or_share = part.low is not None or part.rule == "share"
        mark = part.mean if interval_or_share else _worst(part, values)
    span = None if part.low is None or part.high is None else (part.low, part.high)
    if part.rule == "share":
        k, n = (float(text) for text in str(part.bound).split("/"))
        edges, shown = [k], [0.0, n]
    else:
        bound = float(part.bound)
        edges, shown = [-bound, bound] if part.rule == "equal" else [bound], []
    points = [*edges, *shown, *(span or ()), *([] if mark is None else [mark])]
    low, high = min(points), max(points)
    margin = 0.25 * (high - low) or max(abs(low), 1.0)
    left, right = low - margin, high + margin

    def place(value: float) -> float:
        return round(float(WIDTH * (value - left) / (right - left)), 1)

    ticks = tuple(place(edge) for edge in edges)
    tints: dict[str, tuple[float, float]] = {
        "equal": (ticks[0], ticks[-1]),
        "exact": (ticks[0] - 3, ticks[0] + 3),
        "<": (0, ticks[0]),
        "<=": (0, ticks[0]),
    }
    where = tints.get(part.rule, (ticks[0], WIDTH))
    alt = f"measured {measured(part)}, asked {asked(part)}"
    return Strip(
        where, ticks, None if mark is None else place(mark),
        None if span is None else (place(span[0]), place(span[1])), alt,
    )  # fmt: skip
