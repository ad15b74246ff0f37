"""Is this machine well? One check per line of `bioviz doctor`."""

from __future__ import annotations

import fcntl
import shutil
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from importlib import import_module, metadata
from importlib.util import find_spec
from pathlib import Path
from tempfile import NamedTemporaryFile, TemporaryFile

import bioviz_core
from bioviz_core.errors import MissingDependencyError
from bioviz_core.hooks import PLUGIN_API
from bioviz_core.refs import Ref
from bioviz_core.registry import Plugin, Status, registry

LEAST_FREE = 1e9
"""Bytes of free disk below which a run may not be able to write its checkpoints."""


@dataclass(frozen=True, slots=True)
class Check:
    """One thing looked at; `status` is "ok", "blocked" (on purpose), or a problem.

    The check of a plugin has its `distribution`, that of the machine none.
    """

    status: Status
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
    checks = [
        _look("python", lambda: ".".join(map(str, sys.version_info[:2]))),
        _look("core", lambda: bioviz_core.__version__),
        _look("plugin API", lambda: str(PLUGIN_API)),
        _look("disk", lambda: _disk(place)),
        _look("write", lambda: _write(place)),
        _look("locks", lambda: _locks(place)),
    ]
    frameworks: dict[str, Check] = {}
    for plugin in registry().plugins():
        refs = [r for r in registry().list() if plugin.status == "ok" and r.plugin == plugin.name]
        used = sorted({ref.framework for ref in refs if ref.framework})
        used = [name for name in used if not _can_do_without(plugin, name)]
        for name in used:
            frameworks[name] = frameworks.get(name) or _look(name, partial(_framework, name))
        targets = _look("targets", partial(_targets, refs))
        checks.append(_plugin(plugin, [frameworks[name] for name in used], targets))
    return checks


def _look(name: str, look: Callable[[], str]) -> Check:
    try:
        return Check("ok", name, look())
    except (Exception, SystemExit) as error:
        why = f"{type(error).__name__}: {error}".splitlines()[0]
        return Check("broken", name, why, traceback=_trace(error))


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


def _can_do_without(plugin: Plugin, framework: str) -> bool:
    """Whether the framework is absent and only an extra of the plugin's distribution."""
    found = next(iter(metadata.distributions(name=plugin.distribution.split()[0])), None)
    extras = found.metadata.get_all("Provides-Extra") if found else None
    return framework in (extras or ()) and not find_spec(framework)


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
    kinds = ["cpu"]
    if name == "jax":
        kinds = [device.platform for device in framework.devices()]
    elif name == "torch":
        kinds += ["cuda"] * framework.cuda.device_count()
    return f"{name} {version} ({', '.join(kinds)})"


def _targets(refs: Sequence[Ref]) -> str:
    """Nothing to say where all that is registered can be imported, or lacks only a package."""
    for ref in refs:
        with suppress(MissingDependencyError):  # an extra, or a framework that has its own check
            ref.load(), ref.load_config(), ref.load_for_task()
    return ""


def _plugin(plugin: Plugin, frameworks: Sequence[Check], targets: Check) -> Check:
    status, detail, traces = plugin.status, plugin.reason, [targets.traceback]
    if status == "broken":
        traces = [_trace(plugin.error)]
    elif failed := [check for check in frameworks if check.is_problem]:
        status, traces = "broken", [check.traceback for check in failed]
        whats = "; ".join(check.detail for check in failed)
        detail = f"{whats}: pip install {plugin.distribution.split()[0]}"
    elif targets.is_problem:
        status, detail = "broken", targets.detail
    elif frameworks:
        detail = ", ".join(check.detail for check in frameworks)
    return Check(status, plugin.name, detail, plugin.distribution, "\n".join(filter(None, traces)))


def _trace(error: BaseException | None) -> str:
    return "".join(traceback.format_exception(error)).rstrip() if error else ""
