"""`bioviz run`: an experiment, by its name or from a config file that names it."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from bioviz_core.hooks import hookimpl
from bioviz_core.lab import execute
from bioviz_core.lab.claims import MISSED, read_verdicts, tally
from bioviz_core.lab.cli import render
from bioviz_core.lab.config import read_header
from bioviz_core.lab.record import RunRecord
from bioviz_core.lab.report.verdicts import asked, measured
from bioviz_core.registry import registry


@click.command("run")
@click.argument("target", metavar="NAME_OR_FILE")
@click.option("--preset", help="smoke (the default), laptop or paper.")
@click.option("--seed", type=int, help="Seed of everything random; 0 unless told.")
@click.option("--set", "sets", multiple=True, metavar="PATH=VALUE", help="An option; repeatable.")
@click.option("--runs", "folder", default="runs", show_default=True, help="Where runs are written.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="float32", show_default=True, help="float32, bfloat16, ...")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of every framework.")
@click.option("--strict", is_flag=True, help="Exit with 3 where a claim is missed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    target: str, preset: str | None, seed: int | None, strict: bool, as_json: bool, **others: Any
) -> int:
    """Run an experiment, by name or from a TOML or JSON file that names it.

    See its options with: bioviz info NAME
    """
    is_file = target.endswith((".toml", ".json")) or Path(target).is_file()
    header = read_header(target) if is_file else None
    told = {} if header is None else header.model_dump(include={"preset", "seed"})
    told |= {k: v for k, v in {"preset": preset, "seed": seed}.items() if v is not None}
    name, file = (header.experiment, Path(target)) if header else (target, None)
    with ExitStack() as stack:
        if not as_json:
            hooks, announcer = registry().hooks, _Announcer()
            hooks.register(announcer)
            stack.callback(hooks.unregister, announcer)
        record = execute.run(name, config=file, **told, **others)
    return show(record, strict=strict, as_json=as_json)


class _Announcer:
    """Tells where a run is as soon as it begins, observing it by the same door as a plugin."""

    @hookimpl
    def bioviz_run_started(self, run: Any) -> None:
        if run.writes:
            render.out(f"run     {run.path}")


def show(record: RunRecord, *, strict: bool, as_json: bool) -> int:
    """Print what a finished run found; the exit code of its command."""
    if not record.path.exists():
        return 0  # Another process writes this run and tells of it.
    page, verdicts = record.path / "report.html", read_verdicts(record.claims)
    missed = [verdict for verdict in verdicts if verdict.verdict in MISSED]
    if as_json:
        about = {"path": str(record.path), "status": record.status, "report": str(page)}
        render.as_json(about | record.summary)
    else:
        counts = tally(verdicts)
        told = [f"{count} {render.verdict(word)}" for word, count in counts.items()]
        if not counts.keys() - {"not judged"}:
            told = [f"0 judged ({record.manifest['preset']} preset)"]
        render.out(f"claims  {'  '.join(told)}")
        rows = []
        for verdict in missed:
            failed = [part for part in verdict.parts if part.passed is False] or verdict.parts
            numbers = "; ".join(f"{measured(part)}, asked {asked(part)}" for part in failed)
            rows.append((render.verdict("missed"), verdict.sentence, f" {numbers}"))
        render.table(rows)
        render.out(f"report  {page}")
    return 3 if strict and missed else 0
