"""Build every wheel and try each with core's in an environment of its own.

core and ssn install with plain pip, the torch plugins through uv, since plain pip would spend two
minutes and 6 GB on each. Then `import`, `list`, `doctor`, one smoke run: this shows an undeclared
dependency.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import venv
import zipfile
from pathlib import Path
from tempfile import TemporaryDirectory

ROOT = Path(__file__).parent.parent
UV = ROOT / ".tools/bin/uv"
PLUGINS = {
    "ssn": {"absent": ("torch",)},
    "butd": {"absent": ("jax",)},
    "hopfield": {"absent": ("jax",)},
    "fastweights": {"absent": ("jax",)},
    "nrf": {"absent": ("jax",)},
}


def call(*command: str | Path, cwd: Path | None = None) -> str:
    """Run a command, its standard output returned; its errors are shown where it fails."""
    outside = ("PYTHONPATH", "VIRTUAL_ENV")
    environment = {k: v for k, v in os.environ.items() if k not in outside}
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-4000:]}\n{done.stderr[-4000:]}")
    return done.stdout


def build(folder: Path) -> dict[str, Path]:
    """A wheel of each package, by the package's short name."""
    packages = sorted((ROOT / "packages").iterdir())
    wheels = {p.name.removeprefix("bioviz-"): build_package(p, folder) for p in packages}
    for name, path in wheels.items():
        check_files(name, path)
    return wheels


def build_package(package: Path, folder: Path) -> Path:
    """The wheel of one package, built with this environment's setuptools: nothing is fetched."""
    place = folder / package.name
    shutil.rmtree(package / "build", ignore_errors=True)  # or what was deleted would be packed too
    call(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", place, package)
    (wheel,) = place.glob("*.whl")
    return wheel


def check_files(name: str, wheel: Path) -> None:
    """Only the package and its metadata, the types marker included."""
    files = zipfile.ZipFile(wheel).namelist()
    stray = [f for f in files if not f.startswith((f"bioviz_{name}/", f"bioviz_{name}-"))]
    stray += [f for f in files if "test" in Path(f).name and not f.startswith("bioviz_core/")]
    if stray or f"bioviz_{name}/py.typed" not in files:
        sys.exit(f"{wheel.name}: stray files {stray}, or no py.typed")


def install(name: str, wheels: dict[str, Path], folder: Path) -> Path:
    """A fresh environment with core's wheel and this plugin's; returns its python."""
    python = folder / "bin/python"
    if name == "ssn":
        venv.create(folder, with_pip=True)
        call(python, "-m", "pip", "install", "--quiet", wheels["core"], wheels[name])
    else:
        call(UV, "venv", "--quiet", folder)
        constraints = ROOT / "constraints.txt"
        call(UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python,
             "-c", constraints, wheels["core"], wheels[name])  # fmt: skip
    return python


def try_out(name: str, python: Path, folder: Path) -> str:
    """Import, list, doctor and the first experiment's smoke run; returns what ran."""
    command = python.parent / "bioviz"
    call(python, "-c", f"import bioviz_core, bioviz_{name}", cwd=folder)
    for module in PLUGINS[name]["absent"]:
        probe = f"import importlib.util as u, sys; sys.exit(u.find_spec({module!r}) is not None)"
        call(python, "-c", probe, cwd=folder)
    listed = json.loads(call(command, "list", "--json", cwd=folder))
    call(command, "doctor", cwd=folder)
    names = [
        ref["name"]
        for ref in listed
        if ref["kind"] == "experiment" and ref["name"].startswith(f"{name}/")
    ]
    if not names:
        return "no experiment yet"
    call(command, "run", names[0], "--preset", "smoke", cwd=folder)
    return f"{names[0]} ran"


def main() -> None:
    """Everything, in a temporary folder."""
    with TemporaryDirectory(prefix="bioviz-wheels-") as scratch:
        folder = Path(scratch)
        wheels = build(folder / "dist")
        for name in PLUGINS:
            python = install(name, wheels, folder / name)
            print(f"{wheels[name].name}: {try_out(name, python, folder)}", flush=True)


if __name__ == "__main__":
    main()
