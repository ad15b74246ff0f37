"""`bioviz resume`: go on with an interrupted run."""

from __future__ import annotations

from pathlib import Path

import click

from bioviz_core.lab import execute
from bioviz_core.lab.cli import outcome


@click.command("resume")
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option("--strict", is_flag=True, help="Exit with 3 where a claim is missed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(path: str, strict: bool, as_json: bool) -> int:
    """Go on with the run in PATH from its last checkpoint."""
    with outcome.watching(as_json=as_json) as seen:
        seen.start(Path(path))
        record = execute.resume(path)
    return outcome.show(record.path, strict=strict, as_json=as_json)
