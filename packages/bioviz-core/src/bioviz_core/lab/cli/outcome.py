"""What `run` and `resume` print: the directory at once, then the claims and the report."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bioviz_core.errors import BiovizError
from bioviz_core.hooks import hookimpl
from bioviz_core.lab.claims import MISSED, Verdict, read_verdicts, tally
from bioviz_core.lab.cli import render
from bioviz_core.lab.report.verdicts import asked, measured
from bioviz_core.registry import registry


class Watch:
    """Prints a run's directory as soon as it is known, and remembers it for an error."""

    def __init__(self, *, is_quiet: bool) -> None:
        self.path: Path | None = None
        self.is_quiet = is_quiet

    def start(self, path: Path) -> None:
        """Tell where the run is, once; of several processes only the one that writes it."""
        if self.path is None and not self.is_quiet and path.exists():
            render.out(f"run     {path}")
        self.path = Path(path)

    @hookimpl
    def bioviz_run_started(self, run: Any) -> None:
        """The command line observes a run by the same door as a plugin."""
        self.start(run.path)


@contextmanager
def watching(*, as_json: bool) -> Iterator[Watch]:
    """Observe the run inside; an unexpected error is told where its traceback lies."""
    watch, hooks = Watch(is_quiet=as_json), registry().hooks
    hooks.register(watch, name="command line")
    try:
        yield watch
    except BiovizError:
        raise
    except Exception as error:
        if watch.path is not None:
            error.bioviz_log = watch.path / "log.txt"  # type: ignore[attr-defined]
        raise
    finally:
        hooks.unregister(watch)


def show(path: Path, *, strict: bool, as_json: bool) -> int:
    """Print what the run in `path` found; the exit code of its command."""
    if not path.exists():
        return 0  # Another process writes this run and tells of it.
    run, summary, page = (
        _read(path / "run.json"),
        _read(path / "summary.json"),
        path / "report.html",
    )
    verdicts = read_verdicts(summary.get("claims", ()))
    if as_json:
        render.as_json({"path": str(path), "status": run["status"], "report": str(page), **summary})
    else:
        for line in claim_lines(verdicts, preset=run["preset"]):
            render.out(line)
        render.out(f"report  {page}")
    if run["status"] != "finished":
        render.error(f"the run is {run['status']}; see {path / 'log.txt'}")
        return 1
    return 3 if strict and any(verdict.verdict in MISSED for verdict in verdicts) else 0


def claim_lines(verdicts: Sequence[Verdict], *, preset: str) -> Iterator[str]:
    """The count of verdicts, then a line for each missed claim with what was measured."""
    counts = tally(verdicts)
    if not counts.keys() - {"not judged"}:
        yield f"claims  0 judged ({preset} preset)"
        return
    told = (f"{count} {render.verdict(word)}" for word, count in counts.items())
    yield f"claims  {'  '.join(told)}"
    missed = [verdict for verdict in verdicts if verdict.verdict in MISSED]
    width = max((len(verdict.sentence) for verdict in missed), default=0)
    for verdict in missed:
        failed = [part for part in verdict.parts if part.passed is False] or verdict.parts
        numbers = "; ".join(f"{measured(part)}, asked {asked(part)}" for part in failed)
        yield f"{render.verdict('missed')}  {verdict.sentence.ljust(width)}   {numbers}"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
