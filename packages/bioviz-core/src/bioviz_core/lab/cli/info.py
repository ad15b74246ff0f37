"""`bioviz info`: the options, presets and claims of one thing."""

from __future__ import annotations

from dataclasses import asdict

import click

from bioviz_core.lab import info as about
from bioviz_core.lab.cli import render
from bioviz_core.refs import KINDS


@click.command("info")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), help="Where a name has several kinds.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(name: str, kind: str | None, as_json: bool) -> None:
    """Show the options, presets and claims of NAME."""
    found = about.info(name, kind)
    if as_json:
        render.as_json(asdict(found))
        return
    paper = f"paper: {found.paper.id}" if found.paper else ""
    head = [(click.style(found.ref.summary, bold=True), click.style(paper, dim=True))]
    if found.presets is not None:
        head.append((f"presets  {'  '.join(found.presets)}", f"claims: {len(found.claims)}"))
    render.table(head, widths=(51,))
    for line in filter(None, (found.question, found.signature)):
        render.out(line)
    if found.options:
        rows = [("option", "type", "default", "meaning")]
        for option in found.options:
            default = "required" if option.required else str(option.default)
            rows.append((option.path, option.type, default, option.meaning))
        render.table(rows, right=(2,))
    if found.missing:
        render.note(click.style(found.missing, fg="yellow"))
