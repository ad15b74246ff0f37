"""Run directories on disk: names, the lock, the status, and where each file goes.

A directory is made whole in a hidden folder that is then renamed: one that can be seen is complete.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from bioviz_core.errors import RunLockedError, RunStateError
from bioviz_core.lab.atomic import TEMPORARY, read_json, sync_folder, write_json

FORMAT = 1
MANIFEST = "run.json"
LOCK = ".lock"

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]*")


def now() -> str:
    """The time, with its offset from UTC."""
    return datetime.now().astimezone().isoformat(timespec="seconds")


def create(folder: Path, experiment: str, manifest: Mapping[str, Any], **files: Any) -> Path:
    """A new directory with `run.json`, and each of `files` as `NAME.json`."""
    folder.mkdir(parents=True, exist_ok=True)
    name = f"{experiment.replace('/', '-')}-{datetime.now():%Y%m%d-%H%M%S}-{secrets.token_hex(2)}"
    head = {"format": FORMAT, "id": name, "experiment": experiment, "status": "created"}
    times = {"created": now(), "updated": now(), "finished": None}
    with TemporaryDirectory(prefix=".", dir=folder) as hidden:
        for file, value in {**files, "run": {**head, **times, **manifest}}.items():
            write_json(Path(hidden, name, f"{file}.json"), value)
        # Fails where another run took the name within this second: nothing is overwritten.
        os.rename(Path(hidden, name), folder / name)
    sync_folder(folder)
    return folder / name


def read_manifest(path: Path) -> dict[str, Any]:
    """What `run.json` holds; `RunStateError` where this is no run directory."""
    if not (path / MANIFEST).is_file():
        raise RunStateError(f"{path} is no run directory: it has no {MANIFEST}")
    manifest = read_json(path / MANIFEST)
    found = manifest.get("format") if isinstance(manifest, dict) else manifest
    if found != FORMAT:
        raise RunStateError(f"{path} has format {found!r}, this version reads {FORMAT}")
    return dict(manifest)


def update_manifest(path: Path, **changes: Any) -> None:
    """Change entries of `run.json`."""
    write_json(path / MANIFEST, {**read_manifest(path), **changes, "updated": now()})


def status(path: Path) -> str:
    """`created`, `running`, `finished`, `failed`, `stopped`; or `crashed`: running without a lock.

    Read again after the look at the lock: a run may end between the two.
    """
    said = read_manifest(path)["status"]
    if said == "running" and owner(path) is None and read_manifest(path)["status"] == said:
        return "crashed"
    return str(said)


def listing(folder: Path) -> list[Path]:
    """The run directories in a folder, oldest first; a warning names those that cannot be read."""
    found = []
    for manifest in folder.glob(f"[!.]*/{MANIFEST}"):
        try:
            found.append((read_manifest(manifest.parent)["created"], manifest.parent))
        except RunStateError as error:
            warnings.warn(str(error), stacklevel=2)
    return [path for _, path in sorted(found)]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Be the only writer of a directory; `RunLockedError` where there is one already.

    The lock belongs to the open file, so it dies with the process, however that ends. What a killed
    writer left half-written is removed.
    """
    with (path / LOCK).open("a+b", buffering=0) as file:
        for _ in range(5):  # `owner` holds a shared lock for an instant while it looks
            with suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            time.sleep(0.02)
        else:
            raise RunLockedError(path, owner(path) or "another process")
        file.truncate(0)
        file.write(f"process {os.getpid()} on {socket.gethostname()}".encode())
        for left in list(path.rglob(f".*{TEMPORARY}")):
            left.unlink()
        yield
        file.truncate(0)


def owner(path: Path) -> str | None:
    """Who writes a directory now."""
    if (path / LOCK).exists():
        with (path / LOCK).open() as file:
            try:
                fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
            except BlockingIOError:
                return file.read() or "another process"
    return None


def place(path: Path, kind: str, name: str, suffix: str) -> Path:
    """Where a named file of a kind goes; a name or a link that leads outside is refused."""
    if not _NAME.fullmatch(name):
        rule = "use letters, digits, '.', '_' and '-', with no dot in front"
        raise ValueError(f"{name!r} cannot name a file in {kind}: {rule}")
    file = path / kind / f"{name}{suffix}"
    if not file.resolve().is_relative_to(path.resolve()):
        raise RunStateError(f"{file} leads outside the run directory, to {file.resolve()}")
    return file
