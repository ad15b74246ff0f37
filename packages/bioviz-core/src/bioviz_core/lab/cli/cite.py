"""`bioviz cite`: the BibTeX of everything that a name or a run used."""

from __future__ import annotations

from dataclasses import asdict

import click

from bioviz_core.lab.cli import render
from bioviz_core.lab.info import bibtex, papers


@click.command("cite")
@click.argument("name_or_run")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name_or_run: str, as_json: bool) -> None:
    """Print the BibTeX of a registered name, or of everything that a run directory used."""
    found = papers(name_or_run)
    if as_json:
        render.as_json([asdict(paper) | {"bibtex": bibtex(paper)} for paper in found])
    elif found:
        render.out("\n\n".join(map(bibtex, found)))
    if not found:
        render.note(f"no paper is registered for {name_or_run}")
