"""Is this machine well? One check per line of `bioviz doctor`."""

from __future__ import annotations

import fcntl
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib import import_module, metadata
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile
from typing import Any, Literal, TypeVar

import bioviz_core
from bioviz_core.errors import MissingDependencyError
from bioviz_core.hooks import PLUGIN_API
from bioviz_core.registry import Plugin, registry

T = TypeVar("T")

LEAST_FREE = 1e9
"""Bytes of free disk below which a run may not be able to write its checkpoints."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `status` is "ok", "blocked" (on purpose), or a problem.

    The check of a plugin has its `distribution`, that of the machine none.
    """

    status: Literal["ok", "blocked", "broken", "shadowed"]
    name: str
    detail: str = ""
    distribution: str = ""
    traceback: str = ""

    @property
    def is_problem(self) -> bool:
        """Whether something has to be done about it."""
        return self.status in ("broken", "shadowed")


def doctor(folder: str | Path = "runs") -> list[Check]:
    """Look at the machine and at every plugin; imports the frameworks that plugins compute in.

    `folder` is where runs are to be written; it is not created.
    """
    path = Path(folder).absolute()
    place = next(there for there in (path, *path.parents) if there.exists())
    python = ".".join(map(str, sys.version_info[:2]))
    checks = [
        Check("ok", "python", python),
        Check("ok", "core", bioviz_core.__version__),
        Check("ok", "plugin API", str(PLUGIN_API)),
        *(_checked(look.__name__[1:], look, place) for look in (_disk, _write, _locks)),
    ]
    states: dict[str, Check] = {}
    for plugin in registry().plugins():
        used = _frameworks(plugin)
        for name in used:
            states[name] = states.get(name) or _checked(name, _framework, name)
        checks.append(_plugin(plugin, [states[name] for name in used]))
    return checks


def _checked(name: str, look: Callable[[T], str], at: T) -> Check:
    try:
        return Check("ok", name, look(at))
    except Exception as error:
        said = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check("broken", name, said, traceback=_trace(error))


def _disk(place: Path) -> str:
    free = shutil.disk_usage(place).free
    if free < LEAST_FREE:
        raise OSError(f"only {free / 1e6:.0f} MB free in {place}: make room for checkpoints")
    return f"{free / 1e9:.0f} GB free"


def _write(place: Path) -> str:
    with TemporaryFile(dir=place) as stream:
        stream.write(b"bioviz")
    return str(place)


def _locks(place: Path) -> str:
    """Two handles of one file: the second must not get the lock that the first one holds."""
    with NamedTemporaryFile(dir=place) as first, open(first.name, "rb") as second:
        fcntl.flock(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            fcntl.flock(second, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return "exclusive"
    raise OSError(f"locks in {place} do not exclude: two processes could write one run")


def _frameworks(plugin: Plugin) -> list[str]:
    refs = registry().list() if plugin.status == "ok" else ()
    return sorted({ref.framework for ref in refs if ref.plugin == plugin.name and ref.framework})


def _framework(name: str) -> str:
    """Its version and devices, after an array went from NumPy into it and back."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError as error:
        raise MissingDependencyError(f"{name} is not installed") from error
    numpy, framework = import_module("numpy"), import_module(name)
    sent = numpy.arange(3.0, dtype="float32")
    home = import_module("jax.numpy") if name == "jax" else framework
    if not (numpy.from_dlpack(home.from_dlpack(sent)) == sent).all():
        raise ValueError(f"an array does not survive the way from NumPy to {name} and back")
    if name == "numpy":
        return f"{name} {version}"
    if name == "jax":
        kinds = [device.platform for device in framework.devices()]
    else:
        kinds = ["cpu"] + ["cuda"] * framework.cuda.device_count()
    named = [f"{kinds.count(k)} {k}" if kinds.count(k) > 1 else k for k in dict.fromkeys(kinds)]
    return f"{name} {version} ({', '.join(named)})"


def _plugin(plugin: Plugin, frameworks: Sequence[Check]) -> Check:
    def check(status: Any, detail: str, trace: str = "") -> Check:
        return Check(status, plugin.name, detail, plugin.distribution, trace)

    if plugin.status != "ok":
        is_broken = plugin.status == "broken" and plugin.error is not None
        return check(plugin.status, plugin.reason, _trace(plugin.error) if is_broken else "")
    if failed := [one for one in frameworks if one.is_problem]:
        why = "; ".join(one.detail for one in failed)
        remedy = f"{why}: pip install {plugin.distribution.split()[0]}"
        return check("broken", remedy, "\n".join(one.traceback for one in failed))
    return check("ok", ", ".join(one.detail for one in frameworks))


def _trace(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
