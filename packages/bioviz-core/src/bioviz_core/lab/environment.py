"""What a run ran on: versions, processor, devices, commit. An allow-list, never all variables."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

OURS = ("bioviz-core", "bioviz-ssn", "bioviz-butd", "bioviz-hopfield", "bioviz-fastweights")
FRAMEWORKS = ("torch", "torchvision", "accelerate", "timm", "peft", "jax", "jaxlib", "optax")
OTHERS = ("numpy", "scipy", "scikit-learn", "scikit-image", "matplotlib", "pydantic", "safetensors")
DISTRIBUTIONS = (*OURS, "bioviz-nrf", *FRAMEWORKS, "equinox", *OTHERS)

THREADS = ("BIOVIZ_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
DEVICES = ("CUDA_VISIBLE_DEVICES", "CUBLAS_WORKSPACE_CONFIG", "JAX_PLATFORMS", "JAX_ENABLE_X64")
CHOICES = ("BIOVIZ_DATA", "BIOVIZ_PLUGINS", "BIOVIZ_BLOCK", "PYTHONHASHSEED", "RANK", "WORLD_SIZE")
VARIABLES = (*CHOICES, *THREADS, *DEVICES)


def capture(distribution: str | None = None) -> dict[str, Any]:
    """The environment as JSON; `distribution` is the plugin's, where it is none of ours."""
    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "devices": devices(),
        "command": sys.argv,
        "versions": versions(distribution),
        "variables": {name: os.environ[name] for name in VARIABLES if name in os.environ},
        "git": _git(Path.cwd()),
    }


def versions(distribution: str | None = None) -> dict[str, str]:
    """The versions of what is installed, by distribution."""
    names = [*DISTRIBUTIONS, *([distribution.split()[0]] if distribution else [])]
    found = {name: _version(name) for name in dict.fromkeys(names)}
    return {name: number for name, number in found.items() if number}


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
            done = subprocess.run(command, capture_output=True, text=True, timeout=5)
        except (OSError, subprocess.TimeoutExpired):
            return None
        return done.stdout.strip() if done.returncode == 0 else None

    if (commit := git("rev-parse", "HEAD")) is None:
        return None
    changes, remote = git("status", "--porcelain"), git("remote", "get-url", "origin")
    return {
        "commit": commit,
        "dirty": changes is None or bool(changes),
        "remote": without_user(remote) if remote else None,
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.processor())


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
