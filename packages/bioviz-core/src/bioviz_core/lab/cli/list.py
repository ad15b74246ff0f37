"""`bioviz list`: what the installed plugins provide, without importing any of it."""

from __future__ import annotations

from dataclasses import asdict

import click

from bioviz_core.lab.cli import render
from bioviz_core.refs import KINDS
from bioviz_core.registry import registry


@click.command("list")
@click.argument("pattern", default="*")
@click.option("--kind", type=click.Choice(KINDS), help="Only this kind of thing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(pattern: str, kind: str | None, as_json: bool) -> None:
    """Show what the installed plugins provide.

    PATTERN is part of a name, or a shell pattern such as 'ssn/*'.
    """
    is_pattern = any(sign in pattern for sign in "*?[")
    refs = registry().list(kind, pattern if is_pattern else f"*{pattern}*")
    if as_json:
        render.as_json([asdict(ref) for ref in refs])
    else:
        bold = [click.style(ref.name, bold=True) for ref in refs]
        rows = [(r.kind, n, r.framework or "", r.summary) for r, n in zip(refs, bold, strict=True)]
        render.table(rows, widths=(10, 25, 5))
    if not refs:
        render.note(f"nothing registered matches {pattern!r}")
    for plugin in registry().plugins():
        if plugin.status in ("broken", "shadowed"):
            line = f"{plugin.status}  {plugin.name}  {plugin.distribution}  {plugin.reason}"
            render.note(click.style(f"{line}  (see: bioviz doctor)", fg="yellow"))
