"""How far a phase is: a bar on a terminal, plain lines elsewhere; both on stderr."""

from __future__ import annotations

import sys
import time
from datetime import timedelta

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

REDRAW = 0.1
"""Seconds between two redraws of a bar."""
QUIET = 1.0
"""Seconds between two plain lines for a tenth that is done; the last one always comes."""
SILENCE = 30.0
"""Seconds after which a plain line comes although less than a tenth is done."""


class Bar:
    """One phase of `total` steps, `done` of which are over; a total of None is unknown."""

    def __init__(self, label: str, total: int | None, done: int = 0) -> None:
        self.label, self.total, self.done = label, total, done
        self._start = self._drawn = time.monotonic()
        self._said, self._metric = done, ""
        self._rich = _rich(label, total, done) if sys.stderr.isatty() else None

    def step(self, done: int, name: str = "", value: float | None = None) -> None:
        """`done` steps are over, and this metric is the latest."""
        self.done = done
        if value is not None:
            self._metric = f"{name} {value:.2g}"
        since = time.monotonic() - self._drawn
        is_tenth = self.total is not None and 10 * (done - self._said) >= self.total
        if since > (REDRAW if self._rich else QUIET if is_tenth else SILENCE):
            self._draw()

    def close(self) -> None:
        """Draw the end."""
        if self.done != self._said:
            self._draw()
        if self._rich:
            self._rich.stop()

    def _draw(self) -> None:
        self._drawn, self._said = time.monotonic(), self.done
        if self._rich:
            self._rich.update(self._rich.task_ids[0], completed=self.done, metric=self._metric)
            self._rich.refresh()
            return
        took = timedelta(seconds=round(self._drawn - self._start))
        of = "" if self.total is None else f"/{self.total}"
        line = f"{self.label} {self.done}{of} {took} {self._metric}"
        print(line.rstrip(), file=sys.stderr, flush=True)


def _rich(label: str, total: int | None, done: int) -> Progress:
    label_column = TextColumn("{task.description:<7}", markup=False)
    metric_column = TextColumn("{task.fields[metric]}", markup=False)
    columns = (
        label_column,
        BarColumn(24),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        metric_column,
    )
    # No thread of its own draws: a fork in the middle of a redraw would hang.
    bar = Progress(*columns, console=Console(stderr=True), auto_refresh=False)
    bar.add_task(label, total=total, completed=done, metric="")
    bar.start()
    return bar
