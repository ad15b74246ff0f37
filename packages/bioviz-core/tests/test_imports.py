from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

import bioviz_core
import pytest
from bioviz_core.refs import Ref


def loaded_after(code: str) -> set[str]:
    code = f"{code}\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ})
    return set(json.loads(done.stdout.splitlines()[-1]))


def test_importing_core_loads_the_standard_library_only() -> None:
    roots = {name.partition(".")[0] for name in loaded_after("import bioviz_core")}
    before = {name.partition(".")[0] for name in loaded_after("")}
    assert roots - before <= sys.stdlib_module_names | {"bioviz_core"}


@pytest.mark.parametrize("name", dir(bioviz_core))
def test_every_public_name_resolves(name: str) -> None:
    module = f"bioviz_core.{bioviz_core._PUBLIC.get(name, 'registry')}"
    if find_spec(module) is None:
        pytest.skip(f"{module} is not written yet")
    assert getattr(bioviz_core, name) is not None


def test_type_checkers_know_every_lazy_name() -> None:
    stub = ast.parse(Path(bioviz_core.__file__).with_suffix(".pyi").read_text())
    imports = [node for node in stub.body if isinstance(node, ast.ImportFrom)]
    told = {name.asname: node.module for node in imports for name in node.names if name.asname}
    lazy = {name: f"bioviz_core.{module}" for name, module in bioviz_core._PUBLIC.items()}
    assert told == {name: module for name, module in lazy.items() if module != "bioviz_core.errors"}


def test_a_name_that_is_not_public_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        bioviz_core.nonsense  # noqa: B018


def test_dir_shows_the_public_names() -> None:
    assert {"run", "list", "Config", "__version__"} <= set(dir(bioviz_core))


def test_a_public_name_is_the_object_of_its_module() -> None:
    assert bioviz_core.Ref is Ref
    for name in ("Config", "Field", "ModelInput"):
        assert getattr(bioviz_core, name) is getattr(import_module("bioviz_core.lab.config"), name)
