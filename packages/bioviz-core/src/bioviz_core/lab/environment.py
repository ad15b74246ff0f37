"""What a run ran on: versions, platform, devices, commit. An allow-list, never all variables."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Any

THREADS = ("BIOVIZ_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
DEVICES = ("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "JAX_PLATFORMS", "JAX_ENABLE_X64")
CHOICES = ("BIOVIZ_DATA", "BIOVIZ_PLUGINS", "BIOVIZ_BLOCK", "PYTHONHASHSEED", "RANK", "WORLD_SIZE")


def capture(distribution: str | None = None) -> dict[str, Any]:
    """The environment as JSON; `distribution` is the plugin's."""
    variables = (*CHOICES, *THREADS, *DEVICES)
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "cores": len(os.sched_getaffinity(0)),
        "devices": devices(),
        "command": sys.argv,
        "versions": versions(distribution),
        "variables": {name: os.environ[name] for name in variables if name in os.environ},
        "git": _git(Path.cwd()),
    }


def versions(distribution: str | None = None) -> dict[str, str]:
    """The versions of core, of the plugin's distribution, and of what they ask for, extras too."""
    names = {"bioviz-core", *(distribution or "").split()[:1]}
    for name in list(names):
        if _version(name):
            names |= {re.split(r"[^\w.-]", text)[0] for text in requires(name) or ()}
    return {name: found for name in sorted(names) if (found := _version(name))}


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def devices() -> list[str]:
    """The accelerators of the frameworks that are imported; none is imported for it."""
    found = []
    torch, jax = sys.modules.get("torch"), sys.modules.get("jax")
    if torch is not None and torch.cuda.is_available():
        found += [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    if jax is not None:
        found += [str(device.device_kind) for device in jax.devices() if device.platform != "cpu"]
    return list(dict.fromkeys(found))


def without_user(remote: str) -> str:
    """A git remote without the name, password or token of whoever uses it."""
    return re.sub(r"^([a-z+]+://)[^/]*@", r"\1", re.sub(r"^[^/:@]+@(?=[^/]+:)", "", remote))


def _git(folder: Path) -> dict[str, Any] | None:
    """Commit, whether files differ from it, and the remote; None outside a repository."""

    def git(*arguments: str) -> str | None:
        command = ["git", "-C", str(folder), *arguments]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=5, check=True)
        except (OSError, subprocess.SubprocessError):
            return None
        return done.stdout.strip()

    if (commit := git("rev-parse", "HEAD")) is None:
        return None
    is_dirty = git("status", "--porcelain") != ""
    remote = without_user(git("remote", "get-url", "origin") or "")
    return {"commit": commit, "dirty": is_dirty, "remote": remote or None}
