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
    for ref in [] if as_json else refs:
        # Names longer than their column push the rest aside: a cut name is of no use.
        name = f"{ref.name:25}"
        place = f"{ref.kind:10}  {name}  {ref.framework or '':5}  "
        summary = render.fit(ref.summary, len(place))
        render.out(
            f"{ref.kind:10}  {render.paint(name, 'bold')}  {ref.framework or '':5}  {summary}"
        )
    if not refs:
        render.note(f"nothing registered matches {pattern!r}")
    for plugin in registry().plugins():
        if plugin.status in ("broken", "shadowed"):
            line = f"{plugin.status}  {plugin.name}  {plugin.distribution}  {plugin.reason}"
            render.warn(f"{line}  (see: bioviz doctor)")
