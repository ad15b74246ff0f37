"""`bioviz report`: write a run's report anew from its directory."""

from __future__ import annotations

import click

from bioviz_core.lab.cli import render
from bioviz_core.lab.report.build import report


@click.command("report")
@click.argument("path", type=click.Path(exists=True, file_okay=False))
@click.option("--open", "is_to_open", is_flag=True, help="Show it in the browser.")
def command(path: str, is_to_open: bool) -> None:
    """Write the report of the run in PATH and print where it is."""
    render.out(str(report(path, open=is_to_open)))
