from __future__ import annotations

import sys
from dataclasses import FrozenInstanceError
from pathlib import Path

import pytest
from bioviz_core.errors import BiovizError, MissingDependencyError, RegistrationError
from bioviz_core.refs import KINDS, SUMMARY_LENGTH, Ref, check_name
from hypothesis import given
from hypothesis import strategies as st


def ref(target: str = "json:loads", **about: object) -> Ref:
    values = {"kind": "model", "name": "toy/net", "target": target, "summary": "A net"}
    rest = {"framework": None, "plugin": "toy", "distribution": "bioviz-toy 1.0"}
    return Ref(**{**values, **rest, **about})  # type: ignore[arg-type]


@pytest.mark.parametrize("name", ["a", "two-layer", "layer10", "v1-2d-net"])
def test_kebab_case_names_pass(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "A", "two_layer", "-a", "a-", "a--b", "1a", "a/b", "a b", "é"]
)
def test_other_names_are_refused_with_the_name(name: str) -> None:
    with pytest.raises(RegistrationError, match="kebab-case"):
        check_name(name)


@given(st.text(max_size=12))
def test_a_name_that_passes_is_lower_case_ascii_between_single_hyphens(name: str) -> None:
    try:
        check_name(name)
    except RegistrationError:
        return
    assert name.isascii()
    assert name == name.lower().strip("-")
    assert all(part.isalnum() for part in name.split("-"))


def test_a_reference_imports_nothing_until_it_is_loaded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "late_module.py").write_text("class Outer:\n    class Inner: pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    late = ref("late_module:Outer.Inner")
    assert "late_module" not in sys.modules
    assert late.load().__qualname__ == "Outer.Inner"
    del sys.modules["late_module"]


def test_references_are_frozen_and_ordered_by_kind_and_name() -> None:
    with pytest.raises(FrozenInstanceError):
        ref().name = "other"  # type: ignore[misc]
    assert sorted([ref(name="toy/b"), ref(name="toy/a")])[0].name == "toy/a"
    assert KINDS == ("rule", "model", "analysis", "stimulus", "experiment")


@pytest.mark.parametrize("summary", ["", "x" * (SUMMARY_LENGTH + 1), "two\nlines"])
def test_a_summary_is_one_short_line(summary: str) -> None:
    with pytest.raises(RegistrationError, match="one line"):
        ref(summary=summary)


@pytest.mark.parametrize("target", ["json", "json.loads", ":loads", "json:", "js on:x", "a:b:c"])
def test_a_target_is_module_and_name(target: str) -> None:
    with pytest.raises(RegistrationError, match=r"package\.module:Name"):
        ref(target)
    with pytest.raises(RegistrationError, match=r"package\.module:Name"):
        ref(config=target)


def test_a_missing_framework_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "needy_module.py").write_text("import no_such_framework.nn")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(
        MissingDependencyError, match="toy/net needs no_such_framework: pip install bioviz-toy"
    ) as caught:
        ref("needy_module:Net").load()
    assert isinstance(caught.value, ImportError)
    assert isinstance(caught.value.__cause__, ModuleNotFoundError)


@pytest.mark.parametrize("target", ["json:no_such_name", "no_such_module:Net", "json.no_such:Net"])
def test_a_target_that_is_not_there_is_the_plugins_fault(target: str) -> None:
    with pytest.raises(BiovizError, match=f"toy/net points to {target}") as caught:
        ref(target).load()
    assert not isinstance(caught.value, MissingDependencyError)


def test_a_broken_import_inside_the_target_names_the_distribution(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "stale_module.py").write_text("from json import no_such_name")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(BiovizError, match="Tell the authors of bioviz-toy"):
        ref("stale_module:Net").load()


def test_the_config_is_loaded_apart_from_the_target() -> None:
    assert ref(config="json:dumps").load_config().__name__ == "dumps"
    assert ref().load_config() is None
