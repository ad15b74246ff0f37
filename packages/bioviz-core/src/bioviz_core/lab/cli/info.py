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
        from bioviz_core.lab.options import plain

        data = asdict(found) | {"options": [asdict(option) for option in found.options]}
        render.as_json(plain(data))
        return
    render.out(
        _beside(render.paint(found.ref.summary, "bold"), len(found.ref.summary), _paper(found))
    )
    if found.question:
        render.out(found.question)
    if found.presets is not None:
        names = f"presets  {'  '.join(found.presets)}"
        render.out(_beside(names, len(names), f"claims: {len(found.claims)}"))
    if found.signature:
        render.out(found.signature)
    if found.options:
        rows = [
            (o.path, o.type, "required" if o.required else render.number(o.default), o.meaning)
            for o in found.options
        ]
        render.table(rows, head=("option", "type", "default", "meaning"), right=(2,))
    if found.missing:
        render.warn(found.missing)


def _beside(text: str, length: int, right: str) -> str:
    return f"{text}{' ' * max(2, 53 - length)}{render.paint(right, 'dim')}" if right else text


def _paper(found: about.Info) -> str:
    return f"paper: {found.paper.id}" if found.paper else ""
