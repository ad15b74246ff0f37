"""`bioviz compare`: what differs between runs."""

from __future__ import annotations

from dataclasses import asdict

import click

from bioviz_core.lab.cli import render
from bioviz_core.lab.compare import compare


@click.command("compare")
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True, file_okay=False))
@click.option("--force", is_flag=True, help="Also runs of different experiments or commits.")
@click.option("--csv", "form", flag_value="csv", help="Print CSV.")
@click.option("--html", "form", flag_value="html", help="Print a table for a page.")
@click.option("--json", "form", flag_value="json", help="Print JSON.")
def command(paths: tuple[str, ...], force: bool, form: str | None) -> None:
    """Show the settings and final numbers in which the runs in PATHS differ."""
    found = compare(paths, force=force)
    if form == "json":
        render.as_json(asdict(found))
    elif form or found.rows:
        render.out({"csv": found.to_csv, "html": found.to_html}.get(str(form), found.__str__)())
    else:
        render.note("these runs do not differ")
