"""Run directories on disk: names, the lock, the status, and where each file goes.

`run.json` is written last when a directory is made, in a hidden folder that is then renamed: a
directory that can be seen is complete.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import shutil
import socket
import time
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
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
    while True:
        when = datetime.now().strftime("%Y%m%d-%H%M%S")
        name = f"{experiment.replace('/', '-')}-{when}-{secrets.token_hex(2)}"
        if not (folder / name).exists():
            break
    hidden = folder / f".{name}{TEMPORARY}"
    hidden.mkdir()
    head = {"format": FORMAT, "id": name, "experiment": experiment}
    times = {"created": now(), "updated": now(), "finished": None}
    try:
        for file, value in files.items():
            write_json(hidden / f"{file}.json", value)
        write_json(hidden / MANIFEST, {**head, "status": "created", **times, **manifest})
        os.rename(hidden, folder / name)
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise
    sync_folder(folder)
    return folder / name


def read_manifest(path: Path) -> dict[str, Any]:
    """What `run.json` holds; `RunStateError` where this is no run directory."""
    if not (path / MANIFEST).is_file():
        raise RunStateError(f"{path} is no run directory: it has no {MANIFEST}")
    manifest = read_json(path / MANIFEST)
    if not isinstance(manifest, dict) or manifest.get("format") != FORMAT:
        found = manifest.get("format") if isinstance(manifest, dict) else manifest
        raise RunStateError(f"{path} has format {found!r}, this version reads {FORMAT}")
    return manifest


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

    The lock belongs to the open file, so it dies with the process, however that ends.
    """
    descriptor = os.open(path / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        if not _take(descriptor):
            raise RunLockedError(path, _said(descriptor))
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        _sweep(path)
        yield
        os.ftruncate(descriptor, 0)
    finally:
        os.close(descriptor)


def owner(path: Path) -> str | None:
    """Who writes a directory now."""
    try:
        descriptor = os.open(path / LOCK, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return _said(descriptor)
    finally:
        os.close(descriptor)
    return None


def place(path: Path, kind: str, name: str, suffix: str) -> Path:
    """Where a named file of a kind goes; a name or a link that leads outside is refused."""
    if not _NAME.fullmatch(name):
        raise ValueError(
            f"{name!r} cannot name a file in {kind}: use letters, digits, '.', '_' and '-', with "
            "no dot in front"
        )
    file = path / kind / f"{name}{suffix}"
    if not file.resolve().is_relative_to(path.resolve()):
        raise RunStateError(f"{file} leads outside the run directory, to {file.resolve()}")
    return file


def _take(descriptor: int) -> bool:
    # `owner` holds a shared lock for an instant while it looks: several tries see past it.
    for _ in range(5):
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.02)
        else:
            return True
    return False


def _said(descriptor: int) -> str:
    return os.pread(descriptor, 200, 0).decode(errors="replace") or "another process"


def _sweep(path: Path) -> None:
    """Remove what a killed writer left half-written."""
    for left in list(path.rglob(f".*{TEMPORARY}")):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left)
        else:
            left.unlink()
