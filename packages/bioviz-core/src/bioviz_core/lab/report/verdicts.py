"""The rows of the claims table: where each part fell, measured, asked, and the verdict's chip."""

from __future__ import annotations

from collections import namedtuple

from bioviz_core.lab.claims import BOOTSTRAP_FROM, MISSED, PASSED, PartVerdict, Verdict
from bioviz_core.lab.report.formats import ABSENT, number, plus_minus, with_unit

WIDTH = 144.0
_SIGN = {"ok": "✓", "no": "✗", "idle": "○"}
_ASKED = {"up": "≥ ", ">=": "≥ ", "<=": "≤ ", ">": "> ", "<": "< ", "equal": "within ±"}

# A part on a line 144 x 24: the span that passes, thresholds, mark, interval, and all in words.
Strip = namedtuple("Strip", "tint ticks mark span alt")
PartRow = namedtuple("PartRow", "metric measured asked tone strip note")
ClaimRow = namedtuple("ClaimRow", "id sentence source word sign tone parts")


def claim_row(verdict: Verdict) -> ClaimRow:
    """A verdict made ready for the table."""
    word = verdict.verdict
    tone = "ok" if word in PASSED else "no" if word in MISSED else "idle"
    certificate = "certificate" * ("certificate" in verdict.tags)
    source = " · ".join(filter(None, [certificate, verdict.source]))
    judged = tone != "idle" or word == "inconclusive"
    parts = [
        PartRow(p.metric, measured(p), asked(p), _tone(p, judged), _strip(p), p.note)
        for p in verdict.parts
    ]
    return ClaimRow(verdict.id, verdict.sentence, source, word, _SIGN[tone], tone, parts)


def explain(verdicts: tuple[Verdict, ...]) -> str:
    """What mark and line are in this table, said once above it."""
    counts = {part.n for verdict in verdicts for part in verdict.parts if part.low is not None}
    if not counts:
        return "Mark: the value; tinted: where the claim holds."
    kind = "bootstrap" if min(counts) >= BOOTSTRAP_FROM else "Student-t"
    seeds = " to ".join(map(str, sorted({min(counts), max(counts)})))
    return (
        f"Mark: mean of {seeds} seeds; line: 95 % {kind} interval; tinted: where the claim holds."
    )


def measured(part: PartVerdict) -> str:
    """A part's value with its interval; the worst one where the worst decides."""
    if part.mean is None:
        return ABSENT
    if part.rule == "share":
        return f"{number(part.mean)} of {str(part.bound).partition('/')[2]}"
    if part.low is None or part.high is None:
        return with_unit(number(_decisive(part)), part.unit)
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
    return "> 0" if part.rule == "up" and bound == "0" else f"{_ASKED[part.rule]}{bound}"


def _tone(part: PartVerdict, judged: bool) -> str:
    return ("ok" if part.passed else "no") if judged and part.passed is not None else "idle"


def _decisive(part: PartVerdict) -> float | None:
    """The mean, or the worst value where no interval is drawn; None where nothing was measured."""
    if part.mean is None or part.low is not None or part.rule == "share":
        return part.mean
    values = [value for value in part.values if value is not None]
    if part.rule in ("<=", "<"):
        return max(values)
    if part.rule in (">=", ">", "up"):
        return min(values)
    about = float(part.bound) if part.rule == "exact" else 0.0
    return max(values, key=lambda value: abs(value - about))


def _strip(part: PartVerdict) -> Strip:
    mark = _decisive(part)
    span = [] if part.low is None or part.high is None else [part.low, part.high]
    shown: list[float] = []
    if part.rule == "share":
        passing, total = (float(text) for text in str(part.bound).split("/"))
        edges, shown = [passing], [0.0, total]
    else:
        bound = float(part.bound)
        edges = [-bound, bound] if part.rule == "equal" else [bound]
    points = [*edges, *shown, *span, *([] if mark is None else [mark])]
    low, high = min(points), max(points)
    margin = 0.25 * (high - low) or max(abs(low), 1.0)

    def place(value: float) -> float:
        return round(float(WIDTH * (value - low + margin) / (high - low + 2 * margin)), 1)

    ticks = tuple(map(place, edges))
    first, last = ticks[0], ticks[-1]
    tints = {"equal": (first, last), "exact": (first - 3, first + 3)}
    below = (0, first) if part.rule.startswith("<") else (first, WIDTH)
    alt = f"measured {measured(part)}, asked {asked(part)}"
    where = None if mark is None else place(mark)
    return Strip(tints.get(part.rule, below), ticks, where, tuple(map(place, span)), alt)
