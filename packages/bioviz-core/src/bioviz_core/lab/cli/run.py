"""`bioviz run`: an experiment, by its name or from a config file that names it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import click

from bioviz_core.errors import ConfigError, Problem
from bioviz_core.lab import execute
from bioviz_core.lab.cli import outcome
from bioviz_core.lab.config import read


@click.command("run")
@click.argument("target", metavar="NAME_OR_FILE")
@click.option("--preset", help="smoke (the default), laptop or paper.")
@click.option(
    "--seed", type=click.IntRange(min=0), help="Seed of everything random; 0 unless told."
)
@click.option(
    "--set", "sets", multiple=True, metavar="PATH=VALUE", help="Set an option; repeatable."
)
@click.option("--runs", "folder", default="runs", show_default=True, help="Where runs are written.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")
@click.option("--precision", default="float32", show_default=True, help="float32, bfloat16, ...")
@click.option("--threads", type=click.IntRange(min=1), help="Threads of every framework.")
@click.option("--strict", is_flag=True, help="Exit with 3 where a claim is missed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(
    target: str,
    preset: str | None,
    seed: int | None,
    sets: tuple[str, ...],
    folder: str,
    strict: bool,
    as_json: bool,
    **machine: Any,
) -> int:
    """Run an experiment, by name or from a TOML or JSON file that names it.

    See its options with: bioviz info NAME
    """
    name, file = target, None
    if target.endswith((".toml", ".json")) or Path(target).is_file():
        file = Path(target)
        header = read(file)
        name = _named(header, "experiment", str, file)
        preset = preset or _named(header, "preset", str, file, "smoke")
        seed = _named(header, "seed", int, file, 0) if seed is None else seed
    with outcome.watching(as_json=as_json) as seen:
        record = execute.run(
            name,
            preset=preset or "smoke",
            seed=seed or 0,
            config=file,
            sets=sets,
            folder=folder,
            **machine,
        )
        seen.start(record.path)
    return outcome.show(record.path, strict=strict, as_json=as_json)


def _named(header: dict[str, Any], key: str, kind: type, file: Path, default: Any = None) -> Any:
    """A header key of the config file, or its default where it has one."""
    value = header.get(key, default)
    if isinstance(value, kind) and not isinstance(value, bool):
        return value
    needed = "the name of an experiment, as in 'plugin/name'" if default is None else kind.__name__
    message = f"{value!r} must be {needed}" if key in header else f"required: {needed}"
    raise ConfigError([Problem(key, message, os.fspath(file))], of="the configuration file")
