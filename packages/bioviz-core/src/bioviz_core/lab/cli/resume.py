"""`bioviz resume`: go on with an interrupted run."""

from __future__ import annotations

import click

from bioviz_core.lab import execute
from bioviz_core.lab.cli import render
from bioviz_core.lab.cli.run import show
from bioviz_core.lab.record import open_run


@click.command("resume")
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option("--strict", is_flag=True, help="Exit with 3 where a claim is missed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: str, strict: bool, as_json: bool) -> int:
    """Go on with the run in PATH from its last checkpoint."""
    record = open_run(path)
    if not as_json and execute.is_writer():
        render.out(f"run     {record.path}")
    return show(execute.resume(path), strict=strict, as_json=as_json)
