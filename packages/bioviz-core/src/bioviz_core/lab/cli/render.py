"""How the command line looks: colours on verdict words, aligned columns, errors on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Sequence
from typing import Any, TextIO

_CODES = {"bold": 1, "dim": 2, "red": 31, "green": 32, "yellow": 33}
_VERDICTS = {
    "ok": "green",
    "hold": "green",
    "holds": "green",
    "reproduced": "green",
    "blocked": "yellow",
    "shadowed": "yellow",
    "inconclusive": "yellow",
    "broken": "red",
    "missed": "red",
    "refuted": "red",
    "error:": "red",
}


def paint(text: str, style: str, stream: TextIO | None = None) -> str:
    """`text` in a style where the stream is a terminal and NO_COLOR is not set."""
    if os.environ.get("NO_COLOR") or not (stream or sys.stdout).isatty():
        return text
    return f"\x1b[{_CODES[style]}m{text}\x1b[0m"


def verdict(word: str, width: int = 0, stream: TextIO | None = None) -> str:
    """A verdict word in its colour, padded to `width`; other words stay as they are."""
    padding = " " * (width - len(word))
    style = _VERDICTS.get(word)
    return (paint(word, style, stream) if style else word) + padding


def fit(text: str, used: int) -> str:
    """What fits of `text` beside `used` columns of a terminal; in a pipe, all of it."""
    if not sys.stdout.isatty():
        return text
    room = max(shutil.get_terminal_size().columns - used, 12)
    return text if len(text) <= room else f"{text[: room - 1]}…"


def out(text: str = "") -> None:
    """A line of the result."""
    print(text.rstrip())


def note(text: str) -> None:
    """A line beside the result."""
    print(text, file=sys.stderr)


def warn(text: str) -> None:
    """One yellow line beside the result."""
    print(paint(" ".join(text.split("\n")), "yellow", sys.stderr), file=sys.stderr)


def error(text: str, *, hint: str = "") -> None:
    """What went wrong, on stderr, without a traceback."""
    print(verdict("error:", stream=sys.stderr), text, file=sys.stderr)
    if hint:
        note(hint)


def as_json(value: Any) -> None:
    """A result for programs."""
    import json  # Not needed by a plain `bioviz list`, which has to start fast.

    out(json.dumps(value, indent=2, ensure_ascii=False))


def table(
    rows: Sequence[Sequence[str]], *, head: Sequence[str] = (), right: Sequence[int] = ()
) -> None:
    """Columns as wide as their widest cell; the last is cut on a terminal, never in a pipe.

    The columns whose numbers are in `right` align right.
    """
    widths = [
        max(map(len, column)) for column in zip(*rows, *([head] if head else ()), strict=True)
    ]
    for row in [head, *rows] if head else rows:
        cells = []
        for column, (cell, width) in enumerate(zip(row, widths, strict=True)):
            is_last = column == len(row) - 1 and column not in right
            text = fit(cell, sum(widths[:-1]) + 2 * column) if is_last else cell
            padded = text.rjust(width) if column in right else text.ljust(width)
            cells.append(paint(padded, "dim") if row is head else padded)
        out("  ".join(cells))


def number(value: Any) -> str:
    """A value for a table: four significant digits at most, JSON's words for the rest."""
    if isinstance(value, bool) or value is None:
        return "null" if value is None else str(value).lower()
    return f"{value:.4g}" if isinstance(value, float) else str(value)
