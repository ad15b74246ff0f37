"""Files that are whole or absent: write, flush, rename; and lines that survive a torn tail."""

from __future__ import annotations

import errno
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bioviz_core.errors import BiovizError, RunStateError

TEMPORARY = ".tmp"
"""How the name of a file that is being written ends; it begins with a dot."""

_NO_ROOM = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place once the block has written it.

    Whatever goes wrong, `path` stays as it was. A full disk is a `BiovizError`.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{TEMPORARY}")
    try:
        with room(path):
            yield temporary
            with temporary.open("rb+") as file:
                os.fsync(file.fileno())
            os.replace(temporary, path)
            sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


@contextmanager
def room(path: Path) -> Iterator[None]:
    """Say so where the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _NO_ROOM:
            raise
        raise no_room(path, error) from error


def no_room(path: Path, error: object) -> BiovizError:
    """The error for a disk that is full."""
    return BiovizError(
        f"no room on the disk to write {path} ({error}). What was there before is intact: "
        "free some space, then `bioviz resume`"
    )


def write_text(path: Path, text: str) -> None:
    """Write a whole text file."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8", newline="")


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


class Lines:
    """A file of JSON lines that only grows; each line is handed to the system at once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = path.open("ab", buffering=0)

    def append(self, row: Mapping[str, Any]) -> None:
        """Add one line, or raise and leave none."""
        line = json.dumps(row).encode() + b"\n"
        with room(self.path):
            size = self._file.tell()
            if (written := self._file.write(line)) != len(line):
                self._file.truncate(size)
                raise no_room(self.path, f"{written} of {len(line)} bytes written")

    def sync(self) -> None:
        """Make all lines last."""
        with room(self.path):
            os.fsync(self._file.fileno())

    @property
    def closed(self) -> bool:
        """Is the file closed?"""
        return self._file.closed

    def close(self) -> None:
        """Close the file."""
        self._file.close()


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
        raise RunStateError(
            f"{path} has {len(lines)} whole rows, but its checkpoint was written after {count}. "
            "The file was changed by hand: start the run again"
        )
    if path.exists():
        with path.open("rb+") as file:
            file.truncate(sum(len(line) + 1 for line in lines[:count]))
            os.fsync(file.fileno())


def _whole_lines(path: Path) -> list[bytes]:
    # What follows the last newline is empty, or a line that a kill tore.
    return path.read_bytes().split(b"\n")[:-1] if path.exists() else []
