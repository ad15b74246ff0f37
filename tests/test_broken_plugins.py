"""Every way for a plugin to be broken, from real wheels in one clean environment.

Each broken one is named by `doctor`; every other lists, loads and runs.
"""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from wheels import ROOT, UV, build_package

HEAD = "import bioviz_core as bv\nfrom bioviz_core import hookimpl\n"
GOOD = """
@hookimpl
def bioviz_register(registry):
    registry.model("thing", "{package}.things:Thing", summary="A thing")
    registry.experiment("study", "{package}.things:Study", config="{package}.things:StudyConfig",
                        summary="A study")
"""
THINGS = '''
"""A model and an experiment that need nothing but core."""
from bioviz_core import Config

class Thing:
    """A thing."""

class StudyConfig(Config):
    """Options."""

class Study:
    """An experiment."""
    question, claims, presets = "Does it run?", (), {"smoke": {}}

    def run(self, config, run):
        return {"answer": 42.0}
'''
HALF_DONE = """
@hookimpl
def bioviz_register(registry):
    registry.model("first", "{package}.things:Thing", summary="A thing")
    raise ValueError("no second thing")
"""
WRONG_SIGNATURE = """
@hookimpl
def bioviz_register(registry, what_core_does_not_have):
    pass
"""
BAD_TARGET = """
@hookimpl
def bioviz_register(registry):
    registry.model("thing", "{package}/things.py", summary="A thing")
"""
NO_TARGET = """
@hookimpl
def bioviz_register(registry):
    registry.model("thing", "{package}.things:Absent", summary="A thing")
"""
FRAMEWORK = """
@hookimpl
def bioviz_register(registry):
    registry.model("thing", "{package}.net:Net", summary="A net", framework="torch")
"""


@dataclass(frozen=True)
class Toy:
    """A distribution with a plugin module; `said` is in `doctor`'s line or traceback."""

    name: str
    code: str = GOOD
    distribution: str = ""
    status: str = "ok"
    said: str = ""

    @property
    def owner(self) -> str:
        return self.distribution or f"bioviz-{self.name}"


TOYS = (
    Toy("alpha"),
    Toy("import-error", "import no_such_library", status="broken", said="no_such_library"),
    Toy("exits", "raise SystemExit(3)", status="broken", said="SystemExit: 3"),
    Toy("half-done", HALF_DONE, status="broken", said="no second thing"),
    Toy("signature", WRONG_SIGNATURE, status="broken", said="what_core_does_not_have"),
    Toy("target", BAD_TARGET, status="broken", said="write 'package.module:Name'"),
    Toy("absent", NO_TARGET, status="broken", said="points to bioviz_absent.things:Absent"),
    Toy("no-framework", FRAMEWORK, status="broken", said="torch is not installed"),
    Toy("old", "BIOVIZ_API = 99" + GOOD, status="broken", said="written for plugin API 99"),
    Toy("twice", distribution="one-owner", status="broken", said="claimed by"),
    Toy("twice", distribution="other-owner", status="broken", said="claimed by"),
    Toy("ssn", distribution="squatter", status="shadowed", said="owns the namespace 'ssn'"),
    Toy("ssn"),
    Toy("zeta"),
)
GOOD_NAMES = sorted(toy.name for toy in TOYS if toy.status == "ok")


@dataclass(frozen=True)
class Environment:
    """A clean environment with core's wheel and every toy's."""

    folder: Path

    def call(self, *words: str) -> subprocess.CompletedProcess[str]:
        outside = ("PYTHONPATH", "VIRTUAL_ENV", "BIOVIZ_STRICT", "BIOVIZ_PLUGINS", "BIOVIZ_BLOCK")
        clean = {k: v for k, v in os.environ.items() if k not in outside}
        command = [str(self.folder / "bin" / words[0]), *words[1:]]
        return subprocess.run(command, cwd=self.folder, env=clean, capture_output=True, text=True)


def write(toy: Toy, folder: Path) -> Path:
    """The toy's project."""
    package = toy.owner.replace("-", "_")
    root = folder / toy.owner
    (root / package).mkdir(parents=True)
    (root / package / "__init__.py").touch()
    (root / package / "things.py").write_text(THINGS)
    (root / package / "net.py").write_text("import torch")
    (root / package / "plugin.py").write_text(HEAD + toy.code.format(package=package))
    (root / "pyproject.toml").write_text(
        f'[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n'
        f'[project]\nname = "{toy.owner}"\nversion = "1.0"\n'
        f'[project.entry-points.bioviz]\n{toy.name} = "{package}.plugin"\n'
        f'[tool.setuptools]\npackages = ["{package}"]\n'
    )
    return root


@pytest.fixture(scope="module")
def environment() -> Iterator[Environment]:
    with TemporaryDirectory(prefix="bioviz-broken-") as scratch:
        folder = Path(scratch)
        projects = [ROOT / "packages/bioviz-core", *(write(toy, folder / "src") for toy in TOYS)]
        wheels = [build_package(project, folder / "dist") for project in projects]
        python = folder / "clean/bin/python"
        subprocess.run([UV, "venv", "--quiet", folder / "clean"], check=True)
        install = [UV, "pip", "install", "--quiet", "--compile-bytecode", "--python", python]
        subprocess.run([*install, "-c", ROOT / "constraints.txt", *wheels], check=True)
        yield Environment(folder / "clean")


pytestmark = [pytest.mark.slow, pytest.mark.skipif(not UV.exists(), reason="make setup brings uv")]


def test_list_shows_what_works_and_exits_0(environment: Environment) -> None:
    done = environment.call("bioviz", "list", "--json")
    assert done.returncode == 0
    listed = [ref["name"] for ref in json.loads(done.stdout) if ref["kind"] == "experiment"]
    assert listed == [f"{name}/study" for name in GOOD_NAMES]
    for toy in TOYS:
        # What is missed only once something is imported, `list` cannot know: it imports nothing.
        if toy.status != "ok" and toy.name not in ("no-framework", "absent"):
            assert f"{toy.status}  {toy.name}  {toy.owner} 1.0" in done.stderr


def test_doctor_names_each_culprit_and_exits_1(environment: Environment) -> None:
    done = environment.call("bioviz", "doctor", "--json")
    assert done.returncode == 1
    checks = {c["distribution"]: c for c in json.loads(done.stdout)}
    assert checks.pop("bioviz-core 0.1.0")["status"] == "ok", "its frameworks are extras"
    for toy in TOYS:
        check = checks[f"{toy.owner} 1.0"]
        assert (check["name"], check["status"]) == (toy.name, toy.status), check
        assert toy.said in check["detail"] + check["traceback"], check
        assert bool(check["traceback"]) == (toy.status == "broken")
    assert environment.call("bioviz", "doctor").returncode == 1


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_every_other_plugin_loads_and_runs(environment: Environment, name: str) -> None:
    loading = f"import bioviz_core as bv; bv.create({name + '/thing'!r})"
    assert environment.call("python", "-c", loading).returncode == 0
    ran = environment.call("bioviz", "run", f"{name}/study", "--preset", "smoke")
    assert ran.returncode == 0, ran.stderr


def test_asking_for_what_is_broken_says_whose_fault_it_is(environment: Environment) -> None:
    done = environment.call("bioviz", "info", "half-done/first")
    assert done.returncode == 1
    assert "bioviz-half-done 1.0 is broken: ValueError: no second thing" in done.stderr
    missing = environment.call(
        "python", "-c", "import bioviz_core as bv; bv.get('no-framework/thing')"
    )
    assert "no-framework/thing needs torch: pip install bioviz-no-framework" in missing.stderr


def test_a_generated_plugin_installs_here_and_passes_its_own_tests(
    environment: Environment,
) -> None:
    made = environment.call("bioviz", "new-plugin", "fresh", "--kind", "rule")
    assert made.returncode == 0, made.stderr
    project = environment.folder / "bioviz-fresh"
    (wheel,) = (environment.folder.parent / "dist").glob("*/bioviz_core-*.whl")
    install = [UV, "pip", "install", "--quiet", "--python", environment.folder / "bin/python"]
    wanted = [f"{wheel}[data,testing]", build_package(project, environment.folder)]
    subprocess.run([*install, "-c", ROOT / "constraints.txt", *wanted], check=True)
    done = environment.call("python", "-m", "pytest", "-q", str(project))
    assert done.returncode == 0, done.stdout
