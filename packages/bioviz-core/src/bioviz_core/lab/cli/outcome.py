"""What `run` and `resume` print: the directory at once, then the claims and the report."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bioviz_core.errors import BiovizError
from bioviz_core.hooks import hookimpl
from bioviz_core.lab.cli import render
from bioviz_core.lab.report.build import report
from bioviz_core.registry import registry

WORDS = {
    "holds": "hold",
    "reproduced": "hold",
    "reproduced at reduced scale": "hold",
    "broken": "missed",
    "refuted": "missed",
}
"""Verdicts as the summary line counts them; the others keep their word."""


class Watch:
    """Prints a run's directory as soon as it is known, and remembers it for an error."""

    def __init__(self, *, is_quiet: bool) -> None:
        self.path: Path | None = None
        self.is_quiet = is_quiet

    def start(self, path: Path) -> None:
        """Tell where the run is, once."""
        if self.path is None and not self.is_quiet:
            render.out(f"run     {path}")
        self.path = Path(path)

    @hookimpl
    def bioviz_run_started(self, run: Any) -> None:
        """Core's own observer, by the same door as a plugin's."""
        self.start(run.path)


@contextmanager
def watching(*, as_json: bool) -> Iterator[Watch]:
    """Observe the run inside; an unexpected error is told where its traceback lies."""
    watch = Watch(is_quiet=as_json)
    hooks = registry().hooks
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
    run, summary = _read(path / "run.json"), _read(path / "summary.json")
    verdicts: Sequence[Mapping[str, Any]] = summary.get("claims", ())
    page = report(path)
    if as_json:
        render.as_json({"path": str(path), "status": run["status"], "report": str(page), **summary})
    else:
        for line in claim_lines(verdicts, preset=run["preset"]):
            render.out(line)
        render.out(f"report  {page}")
    if run["status"] != "finished":
        render.error(f"the run is {run['status']}; see {path}/log.txt")
        return 1
    return 3 if strict and any(_word(verdict) == "missed" for verdict in verdicts) else 0


def claim_lines(verdicts: Sequence[Mapping[str, Any]], *, preset: str) -> Iterator[str]:
    """The count of verdicts, then a line for each missed claim with what was measured."""
    counts = Counter(map(_word, verdicts))
    if not counts.keys() - {"not judged"}:
        yield f"claims  0 judged ({preset} preset)"
        return
    order = ["hold", "missed", *sorted(counts.keys() - {"hold", "missed"})]
    yield "claims  " + "  ".join(
        f"{counts[word]} {render.verdict(word)}" for word in order if counts[word]
    )
    missed = [verdict for verdict in verdicts if _word(verdict) == "missed"]
    width = max((len(verdict["sentence"]) for verdict in missed), default=0)
    for verdict in missed:
        failed = [part for part in verdict["parts"] if part["passed"] is False]
        measured = "; ".join(map(_measured, failed or verdict["parts"]))
        yield f"{render.verdict('missed')}  {verdict['sentence'].ljust(width)}   {measured}"


def _word(verdict: Mapping[str, Any]) -> str:
    word = str(verdict["verdict"])
    return WORDS.get(word, word)


def _measured(part: Mapping[str, Any]) -> str:
    """`14 ± 2 %, asked <= 10`: mean and half of its 95 % interval, then the rule and its bound."""
    unit = f" {part['unit']}" if part["unit"] else ""
    spread = ""
    if part["low"] is not None and part["high"] is not None and part["low"] != part["high"]:
        spread = f" ± {render.number((part['high'] - part['low']) / 2)}"
    mean = "no value" if part["mean"] is None else f"{render.number(part['mean'])}{spread}{unit}"
    note = f" ({part['note']})" if part.get("note") else ""
    return f"{mean}, asked {part['rule']} {render.number(part['bound'])}{note}"


def _read(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found
