"""Runs beside each other: the settings that differ, the final numbers, the claims."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass
from html import escape
from pathlib import Path

import numpy as np

from bioviz_core.errors import RunStateError
from bioviz_core.lab import claims
from bioviz_core.lab.record import RunRecord, open_run
from bioviz_core.lab.report.formats import ABSENT, flat, number, plus_minus
from bioviz_core.lab.report.provenance import commit_of


@dataclass(frozen=True, slots=True)
class Value:
    """A final number of one group of runs: its mean over `n` seeds and its 95 % interval."""

    mean: float
    low: float | None
    high: float | None
    n: int

    def __str__(self) -> str:
        if self.low is None or self.high is None:
            return number(self.mean)
        if self.n < claims.BOOTSTRAP_FROM:
            return plus_minus(self.mean, (self.high - self.low) / 2)
        return f"{number(self.mean, 3)} ({number(self.low, 3)} to {number(self.high, 3)})"


@dataclass(frozen=True, slots=True)
class Row:
    """One line: a `setting`, `metric` or the `claims` by group; the last group minus the first."""

    kind: str
    name: str
    values: tuple[object, ...]
    difference: float | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """Groups of runs with one configuration each, and the rows in which they differ."""

    groups: tuple[str, ...]
    rows: tuple[Row, ...]

    def to_csv(self) -> str:
        """Plain numbers, with interval and count for every group."""
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        parts = [group + part for group in self.groups for part in ("", " low", " high", " n")]
        writer.writerow(["kind", "name", *parts, "difference"])
        for row in self.rows:
            cells = [
                astuple(v) if isinstance(v, Value) else (v, None, None, None) for v in row.values
            ]
            writer.writerow([row.kind, row.name, *sum(cells, ()), row.difference])
        return text.getvalue()

    def to_html(self) -> str:
        """A table for a page; every text escaped."""
        head, *body = [[escape(cell) for cell in row] for row in self._cells()]
        rows = ["<th>" + "</th><th>".join(head) + "</th>"]
        rows += ["<td>" + "</td><td>".join(row) + "</td>" for row in body]
        lines = "\n".join(f"<tr>{row}</tr>" for row in rows)
        return f'<table class="bioviz-comparison">\n{lines}\n</table>'

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        table = self._cells()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = [
            "   ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
            for row in table
        ]
        return "\n".join(map(str.rstrip, lines))

    def _cells(self) -> list[list[str]]:
        table = [["", *self.groups, "difference"]]
        for row in self.rows:
            change = "" if row.difference is None else number(row.difference)
            sign = "+" * ((row.difference or 0) > 0)
            shown = (ABSENT if value is None else str(value) for value in row.values)
            table.append([row.name, *shown, sign + change])
        return table


def compare(paths: Sequence[str | Path | RunRecord], *, force: bool = False) -> Comparison:
    """Compare finished runs; those that differ in nothing but their seed form one group.

    Shows only the settings and final numbers that differ, with the difference of the last group
    from the first, and how many claims hold of those judged. Several seeds in a group give a mean
    and a 95 % interval. Runs of different experiments or commits are refused without `force`.
    """
    if len(paths) < 2:
        raise RunStateError(f"comparing needs at least two runs, got {len(paths)}")
    runs = [path if isinstance(path, RunRecord) else open_run(path) for path in paths]
    kinds = [f"{run.config['experiment']} at {commit_of(run.environment)}" for run in runs]
    if len(set(kinds)) > 1 and not force:
        listed = ", ".join(
            f"{run.path.name}: {kind}" for run, kind in zip(runs, kinds, strict=True)
        )
        why = f"these runs are of different experiments or commits ({listed})"
        raise RunStateError(f"{why}. Compare them all the same with force=True, or --force")
    grouped: dict[object, list[RunRecord]] = {}
    for run, kind in zip(runs, kinds, strict=True):
        key = kind, repr(sorted({**run.config, "seed": None}.items()))
        grouped.setdefault(key, []).append(run)
    groups = list(grouped.values())
    if len(groups) == 1:  # only seeds differ: show them side by side
        groups = [[run] for run in runs]
    rows = [*_settings(groups), *_metrics(groups), *_claims(groups)]
    names = [group[0].path.name.rpartition("-")[2] for group in groups]
    more = [f" and {len(group) - 1} more" * (len(group) > 1) for group in groups]
    return Comparison(tuple(map(str.__add__, names, more)), tuple(rows))


def _settings(groups: Sequence[Sequence[RunRecord]]) -> Iterator[Row]:
    found = [dict(flat(group[0].config)) for group in groups]
    for path in dict.fromkeys(path for settings in found for path in settings):
        values = tuple(settings.get(path) for settings in found)
        averaged = path == "seed" and any(len(group) > 1 for group in groups)
        if not averaged and any(value != values[0] for value in values):
            yield Row("setting", path, values)


def _metrics(groups: Sequence[Sequence[RunRecord]]) -> Iterator[Row]:
    found = [[run.summary["scalars"] for run in group] for group in groups]
    for name in dict.fromkeys(name for group in found for scalars in group for name in scalars):
        values = [_value([scalars.get(name, []) for scalars in group]) for group in found]
        first, last = values[0], values[-1]
        if any(value != first for value in values):
            yield Row(
                "metric", name, tuple(values), last.mean - first.mean if first and last else None
            )


def _value(measured: Sequence[float | Sequence[float]]) -> Value | None:
    """Seeds of one run and runs of one group are the same kind of repeat."""
    pooled = np.concatenate([np.atleast_1d(np.asarray(numbers, float)) for numbers in measured])
    values = pooled[np.isfinite(pooled)]
    if len(values) < 2:
        return Value(float(values[0]), None, None, 1) if len(values) else None
    return Value(*claims.interval(values))


def _claims(groups: Sequence[Sequence[RunRecord]]) -> Iterator[Row]:
    held, judged = [], []
    for group in groups:
        tally = claims.tally(v for run in group for v in claims.read_verdicts(run.claims))
        held.append(tally.get("hold", 0))
        judged.append(held[-1] + tally.get("missed", 0) + tally.get("inconclusive", 0))
    if any(judged):
        texts = tuple(f"{one} of {all}" for one, all in zip(held, judged, strict=True))
        yield Row("claims", "claims", texts, held[-1] - held[0])
