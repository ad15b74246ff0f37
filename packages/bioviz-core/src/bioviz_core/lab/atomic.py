"""Files that are whole or absent: write, flush, rename; and lines that survive a torn tail."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import FileIO
from pathlib import Path
from typing import Any

from bioviz_core.errors import BiovizError, RunStateError

TEMPORARY = ".tmp"
"""How the name of a file that is being written ends; it begins with a dot."""


def write(path: Path, content: bytes) -> None:
    """Write a whole file: after any failure `path` is as it was before."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with room(path):
            with temporary.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def room(path: object) -> Iterator[None]:
    """Say so where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise
        advice = "What was there before is intact: free some space, then `bioviz resume`"
        raise BiovizError(f"no room on the disk to write {path} ({error}). {advice}") from error


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    write(path, text.encode())


def write_json(path: Path, value: Any) -> None:
    """Write a whole JSON file; NaN and infinities in Python's spelling."""
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; `RunStateError` where it is absent or none."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise RunStateError(f"{path} cannot be read: {error}") from error


def sync_folder(folder: Path) -> None:
    """Make the names in a folder last."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def append(file: FileIO, row: Mapping[str, Any]) -> None:
    """Hand one line of JSON to the system, or raise and leave none; `file` has no buffer."""
    line = json.dumps(row).encode() + b"\n"
    with room(file.name):
        size = file.tell()
        if (written := file.write(line)) != len(line):
            file.truncate(size)
            raise OSError(errno.ENOSPC, f"{written} of {len(line)} bytes written")


def read_lines(path: Path, count: int | None = None) -> list[dict[str, Any]]:
    """The first `count` rows of a file of JSON lines, without a torn last one."""
    rows = []
    for number, line in enumerate(_whole_lines(path)[:count], 1):
        try:
            rows.append(json.loads(line))
        except ValueError as error:
            raise RunStateError(f"line {number} of {path} is damaged: {error}") from error
    return rows


def keep_lines(path: Path, count: int) -> None:
    """Cut a file of lines after its first `count`."""
    lines = _whole_lines(path)
    if count > len(lines):
        why = f"its checkpoint was written after {count}: start the run again"
        raise RunStateError(f"{path} has {len(lines)} whole rows, but {why}")
    if path.exists():
        os.truncate(path, sum(len(line) + 1 for line in lines[:count]))


def _whole_lines(path: Path) -> list[bytes]:
    # What follows the last newline is empty, or a line that a kill tore.
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
