"""Runs beside each other: the settings that differ, the final numbers, the claims."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from bioviz_core.errors import RunStateError
from bioviz_core.lab import claims
from bioviz_core.lab.report.directory import Directory
from bioviz_core.lab.report.formats import ABSENT, flat, number, plus_minus
from bioviz_core.lab.report.provenance import commit_of

if TYPE_CHECKING:
    from bioviz_core.lab.record import RunRecord

_RESERVED = ("experiment", "preset")
_SEED = "seed"


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
    """One line: a setting, number or claim count by group; the last group minus the first."""

    kind: Literal["setting", "metric", "claims"]
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
        parts = ("", " low", " high", " n")
        columns = [f"{group}{part}" for group in self.groups for part in parts]
        writer.writerow(["kind", "name", *columns, "difference"])
        for row in self.rows:
            cells = [cell for value in row.values for cell in _csv_cells(value)]
            difference = "" if row.difference is None else row.difference
            writer.writerow([row.kind, row.name, *cells, difference])
        return text.getvalue()

    def to_html(self) -> str:
        """A table for a page; every text escaped."""
        head, *body = self._cells()
        lines = ["".join(f"<th>{escape(cell)}</th>" for cell in head)]
        lines += ["".join(f"<td>{escape(cell)}</td>" for cell in row) for row in body]
        rows = "\n".join(f"<tr>{line}</tr>" for line in lines)
        return f'<table class="bioviz-comparison">\n{rows}\n</table>'

    def _repr_html_(self) -> str:
        return self.to_html()

    def __str__(self) -> str:
        table = self._cells()
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        lines = []
        for first, *rest in table:
            cells = [cell.rjust(width) for cell, width in zip(rest, widths[1:], strict=True)]
            lines.append("   ".join([first.ljust(widths[0]), *cells]).rstrip())
        return "\n".join(lines)

    def _cells(self) -> list[list[str]]:
        table = [["", *self.groups, "difference"]]
        for row in self.rows:
            difference = "" if row.difference is None else _signed(row.difference)
            table.append([row.name, *(_shown(value) for value in row.values), difference])
        return table


def compare(paths: Sequence[str | Path | RunRecord], *, force: bool = False) -> Comparison:
    """Compare finished runs; those that differ in nothing but their seed form one group.

    Shows only the settings and final numbers that differ, with the difference of the last group
    from the first, and how many claims hold of those judged. Several seeds in a group give a mean
    and a 95 % interval. Runs of different experiments or commits are refused without `force`.
    """
    if len(paths) < 2:
        raise RunStateError(f"comparing needs at least two runs, got {len(paths)}")
    runs = [Directory(Path(p) if isinstance(p, str | Path) else p.path) for p in paths]
    for run in runs:
        if run.problems or "scalars" not in run.summary:
            why = "; ".join(run.problems) or f"status {run.run.get('status')}"
            raise RunStateError(f"{run.path} has no results to compare ({why}). Resume it first")
    if not force:
        _same(runs, "experiment", [str(run.run.get("experiment")) for run in runs])
        _same(runs, "commit", [str(commit_of(run.environment)) for run in runs])
    groups: dict[str, list[Directory]] = {}
    for run in runs:
        settings = {path: value for path, value in _settings(run).items() if path != _SEED}
        # What force lets through differs in more than its settings.
        own = (run.run.get("experiment"), commit_of(run.environment))
        groups.setdefault(repr((own, sorted(settings.items(), key=lambda s: s[0]))), []).append(run)
    members = list(groups.values())
    if len(members) == 1:  # only seeds differ: show them side by side
        members = [[run] for run in runs]
    rows = [*_setting_rows(members), *_metric_rows(members), *_claim_rows(members)]
    return Comparison(tuple(_name(group) for group in members), tuple(rows))


def _same(runs: Sequence[Directory], what: str, values: Sequence[str]) -> None:
    if len(set(values)) > 1:
        listed = ", ".join(f"{r.path.name}: {v}" for r, v in zip(runs, values, strict=True))
        raise RunStateError(
            f"these runs are of different {what}s ({listed}), so their numbers are not of one "
            "thing. Compare them all the same with force=True, or --force"
        )


def _settings(run: Directory) -> dict[str, object]:
    return {path: value for path, value in flat(run.config) if path not in _RESERVED} | {
        "preset": run.run.get("preset", run.config.get("preset"))
    }


def _name(group: Sequence[Directory]) -> str:
    first = group[0].path.name.rpartition("-")[2] or group[0].path.name
    return first if len(group) == 1 else f"{first} and {len(group) - 1} more"


def _setting_rows(members: Sequence[Sequence[Directory]]) -> list[Row]:
    found = [_settings(group[0]) for group in members]
    paths = dict.fromkeys(path for settings in found for path in settings)
    if any(len(group) > 1 for group in members):
        paths.pop(_SEED, None)
    rows = []
    for path in paths:
        values = tuple(settings.get(path) for settings in found)
        if any(value != values[0] for value in values):
            rows.append(Row("setting", path, values))
    return rows


def _metric_rows(members: Sequence[Sequence[Directory]]) -> list[Row]:
    names = dict.fromkeys(n for group in members for run in group for n in run.summary["scalars"])
    rows = []
    for name in names:
        values = [_value([run.summary["scalars"].get(name) for run in group]) for group in members]
        means = [value.mean for value in values if value is not None]
        if len(means) < len(values) or any(mean != means[0] for mean in means):
            ends = values[0], values[-1]
            both = None if None in ends else ends[1].mean - ends[0].mean  # type: ignore[union-attr]
            rows.append(Row("metric", name, tuple(values), both))
    return rows


def _value(measured: Sequence[Any]) -> Value | None:
    """Seeds of one run and runs of one group are the same kind of repeat."""
    pooled = [
        float(number)
        for one in measured
        for number in (one if isinstance(one, list) else [one])
        if number is not None and math.isfinite(number)
    ]
    if not pooled:
        return None
    values = np.array(pooled)
    low, high = claims.interval(values)[1:3] if len(values) > 1 else (None, None)
    return Value(float(values.mean()), low, high, len(values))


def _claim_rows(members: Sequence[Sequence[Directory]]) -> list[Row]:
    counts = []
    for group in members:
        verdicts = [v for run in group for v in claims.read_verdicts(run.summary.get("claims", ()))]
        tally: Mapping[str, int] = claims.tally(verdicts)
        held = tally.get("hold", 0)
        counts.append((held, held + tally.get("missed", 0) + tally.get("inconclusive", 0)))
    if not any(judged for _, judged in counts):
        return []
    texts = tuple(f"{held} of {judged}" for held, judged in counts)
    return [Row("claims", "claims", texts, float(counts[-1][0] - counts[0][0]))]


def _csv_cells(value: object) -> list[object]:
    if isinstance(value, Value):
        return [value.mean, "" if value.low is None else value.low,
                "" if value.high is None else value.high, value.n]  # fmt: skip
    return ["" if value is None else value, "", "", ""]


def _shown(value: object) -> str:
    return ABSENT if value is None else str(value)


def _signed(value: float) -> str:
    return f"+{number(value)}" if value > 0 else number(value)
