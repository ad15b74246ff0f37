"""A folder of installed toy plugins: real metadata, real modules, found as any other."""

from __future__ import annotations

import sys
from importlib import invalidate_caches
from pathlib import Path
from textwrap import dedent

import pytest
from bioviz_core.registry import Plugin, Registry

GOOD = """
from bioviz_core import hookimpl

@hookimpl
def bioviz_register(registry):
    registry.model("net", "json:JSONEncoder", summary="A net")
"""


class Site:
    """Writes distributions with an entry point of the group `bioviz` and their modules."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.modules: list[str] = []

    def install(self, name: str, code: str = GOOD, *, distribution: str | None = None) -> str:
        """A distribution (by default `bioviz-<name>`) whose plugin `name` has this code."""
        distribution = distribution or f"bioviz-{name}"
        module = f"{distribution}_plugin".replace("-", "_")
        (self.folder / f"{module}.py").write_text(dedent(code))
        about = self.folder / f"{distribution.replace('-', '_')}-1.0.dist-info"
        about.mkdir()
        metadata = f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n"
        (about / "METADATA").write_text(metadata)
        (about / "entry_points.txt").write_text(f"[bioviz]\n{name} = {module}\n")
        self.modules.append(module)
        invalidate_caches()
        return module

    def discover(self) -> Registry:
        """A registry that has looked at this folder and at what is installed beside it."""
        registry = Registry()
        registry.discover()
        return registry


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for variable in ("BIOVIZ_PLUGINS", "BIOVIZ_BLOCK", "BIOVIZ_STRICT"):
        monkeypatch.delenv(variable, raising=False)
    folder = tmp_path / "site"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    site = Site(folder)
    yield site
    for module in site.modules:
        sys.modules.pop(module, None)


@pytest.fixture
def plugin_of():
    """The one plugin of a registry with this name, or this distribution."""

    def find(registry: Registry, name: str) -> Plugin:
        (found,) = [p for p in registry.plugins() if name in (p.name, p.distribution.split()[0])]
        return found

    return find


STUDY = '''
"""An experiment whose file imports no framework."""
from bioviz_core import Claim, Config, Field, StoppedError

class Inner(Config):
    tol: float = Field(1e-5, gt=0)
    """Stop below this."""

class StudyConfig(Config):
    solver: Inner = Inner()
    model: str = "toy/net"
    """Which model."""
    steps: int = Field(3, ge=1)

class Study:
    question = "Does it settle?"
    claims = (Claim("T-1", "It settles.", "Fig. 1", "residual", "<=", 1.0),)
    presets = {"smoke": {"steps": 1}, "laptop": {}, "paper": {"solver.tol": 1e-9}}

    def run(self, config, run):
        if config.steps == 13:
            raise ZeroDivisionError("unlucky")
        if config.steps == 14:
            raise StoppedError("stopped after step 2")
        return {"residual": float(config.steps)}

class Net:
    def __init__(self, width: int, *, depth: int = 2, scale: "float" = 0.5) -> None:
        self.width = width
'''

TOY = """
from bioviz_core import hookimpl

@hookimpl
def bioviz_register(registry):
    registry.paper("settling", "On settling", authors=("Ada A.", "Bo B."), year=1999, doi="10.1/x")
    registry.paper("nets", "On nets", authors=("Cy C.",), year=2001, bibtex="@book{nets}")
    registry.experiment("study", "toy_study:Study", config="toy_study:StudyConfig",
                        summary="Settling of a toy", framework="numpy", paper="settling")
    registry.model("net", "toy_study:Net", summary="A net", framework="numpy", paper="nets")
    registry.model("jnet", "toy_missing:Net", summary="Needs what is not there", framework="numpy")
"""


@pytest.fixture
def toy(site: Site, monkeypatch: pytest.MonkeyPatch):
    """An installed plugin `toy` with an experiment, a model and papers, in the one registry."""
    site.install("toy", TOY)
    (site.folder / "toy_study.py").write_text(STUDY)
    (site.folder / "toy_missing.py").write_text("import no_such_framework")
    monkeypatch.setattr("bioviz_core.registry._registry", site.discover())
    yield site
    sys.modules.pop("toy_study", None)
