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
from typing import Literal

import bioviz_core
from bioviz_core.hooks import PLUGIN_API
from bioviz_core.registry import Plugin, registry

LEAST_FREE = 1e9
"""Bytes of free disk below which a run may not be able to write its checkpoints."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `status` is "ok", "blocked" (on purpose), or a problem."""

    status: Literal["ok", "blocked", "broken", "shadowed"]
    subject: Literal["machine", "plugin"]
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
    place = Path(folder).absolute()
    while not place.exists():
        place = place.parent
    version = ".".join(map(str, sys.version_info[:2]))
    checks = [
        Check("ok", "machine", "python", version),
        Check("ok", "machine", "core", bioviz_core.__version__),
        Check("ok", "machine", "plugin API", str(PLUGIN_API)),
        _checked("disk", lambda: _disk(place)),
        _checked("write", lambda: _write(place)),
        _checked("locks", lambda: _locks(place)),
    ]
    plugins = registry().plugins()
    used = {plugin.name: _frameworks(plugin) for plugin in plugins}
    states = {name: _framework(name) for name in sorted({f for fs in used.values() for f in fs})}
    for plugin in plugins:
        checks.append(_plugin(plugin, [states[name] for name in used[plugin.name]]))
    return checks


def _checked(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check("ok", "machine", name, look())
    except Exception as error:
        return Check("broken", "machine", name, _line(error), traceback=_trace(error))


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
    if plugin.status != "ok":
        return []
    refs = [ref for ref in registry().list() if ref.plugin == plugin.name]
    return sorted({ref.framework for ref in refs if ref.framework})


def _framework(name: str) -> Check:
    """Import it, ask for its devices, and pass one array to NumPy and back."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError as error:
        return Check("broken", "machine", name, f"{name} is not installed", traceback=_trace(error))
    return _checked(name, lambda: f"{name} {version}{_devices(name)}")


def _devices(name: str) -> str:
    numpy, framework = import_module("numpy"), import_module(name)
    sent = numpy.arange(3.0, dtype="float32")
    home = import_module("jax.numpy") if name == "jax" else framework
    if not (numpy.from_dlpack(home.from_dlpack(sent)) == sent).all():
        raise ValueError(f"an array does not survive the way from NumPy to {name} and back")
    if name == "jax":
        kinds = [device.platform for device in framework.devices()]
    elif name == "torch":
        kinds = ["cpu"] + ["cuda"] * framework.cuda.device_count()
    else:
        return ""
    named = [f"{kinds.count(k)} {k}" if kinds.count(k) > 1 else k for k in dict.fromkeys(kinds)]
    return f" ({', '.join(named)})"


def _plugin(plugin: Plugin, frameworks: Sequence[Check]) -> Check:
    about = (plugin.name, plugin.reason, plugin.distribution)
    if plugin.status == "broken" and plugin.error is not None:
        return Check("broken", "plugin", *about, _trace(plugin.error))
    if plugin.status != "ok":
        return Check(plugin.status, "plugin", *about)
    if failed := [check for check in frameworks if check.is_problem]:
        why = "; ".join(check.detail for check in failed)
        remedy = f"{why}: pip install {plugin.distribution.split()[0]}"
        traces = "\n".join(check.traceback for check in failed)
        return Check("broken", "plugin", plugin.name, remedy, plugin.distribution, traces)
    detail = ", ".join(check.detail for check in frameworks)
    return Check("ok", "plugin", plugin.name, detail, plugin.distribution)


def _line(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0]


def _trace(error: BaseException) -> str:
    return "".join(traceback.format_exception(error)).rstrip()
