"""How the command line looks: colours on verdict words, aligned columns, errors on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Collection, Sequence
from itertools import zip_longest
from typing import Any

import click

_COLORS = {
    **dict.fromkeys(("ok", "hold", "holds", "reproduced"), "green"),
    **dict.fromkeys(("blocked", "shadowed", "inconclusive"), "yellow"),
    **dict.fromkeys(("broken", "missed", "refuted", "error:"), "red"),
}


def out(text: str) -> None:
    """A line of the result."""
    _echo(text.rstrip(), err=False)


def note(text: str) -> None:
    """A line beside the result."""
    _echo(text, err=True)


def _echo(text: str, *, err: bool) -> None:
    # Colours are for a terminal, where NO_COLOR is not set.
    color = False if os.environ.get("NO_COLOR") else None
    try:
        click.echo(text, err=err, color=color)
    except BrokenPipeError:  # A reader that leaves early, such as `head`, is no failure.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2 if err else 1)


def verdict(word: str) -> str:
    """A verdict word in its colour; other words stay as they are."""
    return click.style(word, fg=_COLORS[word]) if word in _COLORS else word


def as_json(value: Any) -> None:
    """A result for programs."""
    import json  # Not needed by a plain `bioviz list`, which has to start fast.

    out(json.dumps(value, indent=2, ensure_ascii=False, default=str))


def table(
    rows: Sequence[Sequence[str]], *, widths: Sequence[int] = (), right: Collection[int] = ()
) -> None:
    """Columns as wide as their widest cell, or as `widths` says where that is more.

    The last one is cut on a terminal, never in a pipe. The columns in `right` align right.
    """
    longest = [max(map(_width, column)) for column in zip(*rows, strict=True)][:-1]
    sizes = [max(pair) for pair in zip_longest(longest, widths, fillvalue=0)]
    room = shutil.get_terminal_size().columns - sum(sizes) - 2 * len(sizes)
    for *cells, last in rows:
        pads = [" " * (size - _width(cell)) for size, cell in zip(sizes, cells, strict=True)]
        line = [
            pad + cell if column in right else cell + pad
            for column, (cell, pad) in enumerate(zip(cells, pads, strict=True))
        ]
        is_cut = sys.stdout.isatty() and _width(last) > room > 1
        out("  ".join([*line, f"{click.unstyle(last)[: room - 1]}…" if is_cut else last]))


def _width(cell: str) -> int:
    return len(click.unstyle(cell))
