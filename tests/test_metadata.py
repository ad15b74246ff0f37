"""What the six distributions say of themselves."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PROJECTS = {
    path.parent.name: tomllib.loads(path.read_text())["project"]
    for path in sorted(ROOT.glob("packages/*/pyproject.toml"))
}


def test_one_version_number_for_all() -> None:
    assert len({project["version"] for project in PROJECTS.values()}) == 1
    version = PROJECTS["bioviz-core"]["version"]
    assert (
        f'__version__ = "{version}"'
        in (ROOT / "packages/bioviz-core/src/bioviz_core/__init__.py").read_text()
    )
    assert f"version: {version}" in (ROOT / "CITATION.cff").read_text()
    assert f"## {version}" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.parametrize("name", PROJECTS)
def test_dependencies_are_plain_ranges(name: str) -> None:
    project = PROJECTS[name]
    extras = project.get("optional-dependencies", {}).values()
    needed = [*project["dependencies"], *(need for extra in extras for need in extra)]
    for requirement in needed:
        assert re.fullmatch(r"[\w-]+(\[[\w,]+\])?>=[\d.]+(,<[\d.]+)?", requirement), requirement


@pytest.mark.parametrize("name", PROJECTS)
def test_packages_are_typed_and_introduce_themselves(name: str) -> None:
    package = ROOT / "packages" / name
    assert (package / "src" / name.replace("-", "_") / "py.typed").exists()
    assert len((package / "README.md").read_text()) > 200


def test_constraints_hold_versions_only() -> None:
    for line in (ROOT / "constraints.txt").read_text().splitlines():
        assert re.fullmatch(r"[\w.-]+==[\w.+!-]+( ; .+)?", line), line
