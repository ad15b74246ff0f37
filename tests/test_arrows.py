"""The arrows between rooms: who may import whom."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
CORE = ROOT / "packages/bioviz-core/src/bioviz_core"
PLUGINS = sorted(p for p in ROOT.glob("packages/*/src/bioviz_*") if p.name != "bioviz_core")
HEART = {"errors", "hooks", "interfaces", "refs", "registry"}
FRAMEWORKS = {"torch", "jax", "jaxlib", "optax", "accelerate", "timm", "peft"}
MAY_IMPORT = {
    "heart": {"heart"},
    "plugin": {"heart"},
    "stimuli": {"stimuli", "heart"},
    "analyses": {"analyses", "heart"},
    "bridge": {"bridge", "heart"},
    "lab": {"lab", "analyses", "heart"},
    "cli": {"cli", "lab", "heart"},
    "testing": {"testing", "cli", "lab", "stimuli", "analyses", "bridge", "heart"},
}


def imports(path: Path) -> set[str]:
    """Modules that a file imports, at any depth, but for those that only type checkers see."""
    found: set[str] = set()

    def walk(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module:
            found.update(f"{node.module}.{alias.name}" for alias in node.names)
        for child in ast.iter_child_nodes(node):
            walk(child)

    walk(ast.parse(path.read_text()))
    return found


def room(module: str) -> str | None:
    """The room of a module of core, or None where it is not core's."""
    parts = module.split(".")
    if parts[0] != "bioviz_core":
        return None
    if parts[1:3] == ["lab", "cli"]:
        return "cli"
    place = parts[1] if len(parts) > 1 else "heart"
    return place if place in MAY_IMPORT else "heart"


def core_files() -> list[Path]:
    return [p for p in sorted(CORE.rglob("*.py")) if "templates" not in p.parts]


@pytest.mark.parametrize("path", core_files(), ids=lambda p: str(p.relative_to(CORE)))
def test_rooms_of_core_import_only_along_the_arrows(path: Path) -> None:
    parts = path.relative_to(CORE.parent).with_suffix("").parts
    if parts in {("bioviz_core", "__init__"), ("bioviz_core", "__main__")}:
        return
    own = room(".".join(parts))
    assert own is not None
    wrong = {m for m in imports(path) if (r := room(m)) and r not in MAY_IMPORT[own]}
    assert not wrong, f"{own} may import {sorted(MAY_IMPORT[own])} only"


@pytest.mark.parametrize("path", core_files(), ids=lambda p: str(p.relative_to(CORE)))
def test_only_bridge_and_testing_import_a_framework(path: Path) -> None:
    if path.relative_to(CORE).parts[0] in {"bridge", "testing"}:
        return
    assert not {m for m in imports(path) if m.split(".")[0] in FRAMEWORKS}


def test_core_never_names_a_plugin() -> None:
    named = [
        (path.name, plugin.name)
        for path in core_files()
        for plugin in PLUGINS
        if plugin.name in path.read_text()
    ]
    assert not named


@pytest.mark.parametrize("package", PLUGINS, ids=lambda p: p.name)
def test_no_plugin_imports_another(package: Path) -> None:
    others = {p.name for p in PLUGINS} - {package.name}
    for path in package.rglob("*.py"):
        assert not {m for m in imports(path) if m.split(".")[0] in others}, path


@pytest.mark.parametrize("package", PLUGINS, ids=lambda p: p.name)
def test_nothing_imports_a_plugin_module(package: Path) -> None:
    for path in package.rglob("*.py"):
        assert not {m for m in imports(path) if m.startswith(f"{package.name}.plugin")}, path
