"""`bioviz new-plugin`: write a complete package that passes its own tests."""

from __future__ import annotations

import re
from pathlib import Path

import click

from bioviz_core.lab.cli import render
from bioviz_core.refs import KINDS, check_name

TEMPLATES = Path(__file__).parents[2] / "templates"


@click.command("new-plugin")
@click.argument("name")
@click.option("--kind", type=click.Choice(KINDS), default="rule", show_default=True)
@click.option("--folder", default=".", type=click.Path(file_okay=False), help="Where to write it.")
def command(name: str, kind: str, folder: str) -> None:
    """Write the package bioviz-NAME: plugin, a working KIND, tests, README."""
    from jinja2 import Environment, StrictUndefined

    root = Path(folder, f"bioviz-{check_name(name)}")
    if root.exists():
        raise click.UsageError(f"{root} exists already: choose another name or folder")
    package = f"bioviz_{name.replace('-', '_')}"
    words = {"name": name, "kind": kind, "package": package, "title": name.title().replace("-", "")}
    environment = Environment(
        undefined=StrictUndefined, keep_trailing_newline=True, autoescape=False
    )
    common = sorted((TEMPLATES / "package").rglob("*.j2"))
    for source in [*common, TEMPLATES / "kinds" / f"{kind}.py.j2"]:
        relative = source.relative_to(TEMPLATES / "package") if source in common else None
        place = str(relative or f"src/PACKAGE/{kind}.py").removesuffix(".j2")
        target = root / place.replace("PACKAGE", package)
        target.parent.mkdir(parents=True, exist_ok=True)
        text = environment.from_string(source.read_text()).render(words)
        target.write_text(re.sub(r"\n{4,}", "\n\n\n", text))
    render.out(f"{root}\ninstall it   pip install -e '{root}[testing]'")
    render.out(f"test it      pytest {root}\nwrite it     {root}/src/{package}/{kind}.py")
