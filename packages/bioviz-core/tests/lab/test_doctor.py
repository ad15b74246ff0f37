from __future__ import annotations

import errno
import fcntl
import shutil
import sys
from collections import namedtuple
from types import SimpleNamespace

import numpy as np
from bioviz_core.lab.doctor import Check, doctor


def by_name(checks: list[Check]) -> dict[str, Check]:
    return {
        check.distribution.split()[0] if check.distribution else check.name: check
        for check in checks
    }


def look(site, monkeypatch, folder) -> dict[str, Check]:
    monkeypatch.setenv("BIOVIZ_PLUGINS", "toy,bad,odd")
    monkeypatch.setattr("bioviz_core.registry._registry", site.discover())
    return by_name(doctor(folder))


def test_a_well_machine_has_no_problem(toy, monkeypatch, tmp_path) -> None:
    checks = look(toy, monkeypatch, tmp_path / "runs" / "deep")
    assert not [check for check in checks.values() if check.is_problem]
    assert {"python", "core", "plugin API", "disk", "write", "locks"} <= checks.keys()
    assert checks["bioviz-toy"].detail == f"numpy {np.__version__} (cpu)"
    assert not (tmp_path / "runs").exists()


def test_a_broken_plugin_is_shown_with_its_traceback(toy, monkeypatch, tmp_path) -> None:
    toy.install("bad", "import no_such_module")
    checks = look(toy, monkeypatch, tmp_path)
    bad = checks["bioviz-bad"]
    assert (bad.status, bad.is_problem) == ("broken", True)
    assert bad.detail == "ModuleNotFoundError: No module named 'no_such_module'"
    assert 'bioviz_bad_plugin.py", line 1' in bad.traceback
    assert checks["bioviz-toy"].status == "ok"


def test_a_framework_that_is_not_installed_is_the_plugins_problem(
    toy, monkeypatch, tmp_path
) -> None:
    code = (toy.folder / "bioviz_toy_plugin.py").read_text()
    toy.install("odd", code.replace('framework="numpy"', 'framework="no-such-framework"'))
    odd = look(toy, monkeypatch, tmp_path)["bioviz-odd"]
    assert odd.status == "broken"
    assert odd.detail.endswith("no-such-framework is not installed: pip install bioviz-odd")


def test_a_blocked_plugin_is_no_problem_and_a_shadowed_one_is(toy, monkeypatch, tmp_path) -> None:
    toy.install("toy", "", distribution="a-squatter")
    toy.install("elsewhere")
    checks = look(toy, monkeypatch, tmp_path)
    assert (checks["bioviz-elsewhere"].status, checks["bioviz-elsewhere"].is_problem) == (
        "blocked",
        False,
    )
    assert (checks["a-squatter"].status, checks["a-squatter"].is_problem) == ("shadowed", True)


def test_a_full_disk_is_a_problem(toy, monkeypatch, tmp_path) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda place: usage(2e9, 1.95e9, 5e7))
    disk = look(toy, monkeypatch, tmp_path)["disk"]
    assert disk.is_problem
    assert "only 50 MB free" in disk.detail


def test_a_folder_that_cannot_be_written_is_a_problem(toy, monkeypatch, tmp_path) -> None:
    def refuse(**about: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", str(about["dir"]))

    monkeypatch.setattr("bioviz_core.lab.doctor.TemporaryFile", refuse)
    checks = look(toy, monkeypatch, tmp_path)
    assert checks["write"].is_problem
    assert str(tmp_path) in checks["write"].detail
    assert not checks["locks"].is_problem


def test_locks_that_do_not_exclude_are_a_problem(toy, monkeypatch, tmp_path) -> None:
    monkeypatch.setattr(fcntl, "flock", lambda *about: None)
    locks = look(toy, monkeypatch, tmp_path)["locks"]
    assert locks.is_problem
    assert "two processes could write one run" in locks.detail


def test_a_framework_that_changes_arrays_is_a_problem(toy, monkeypatch, tmp_path) -> None:
    doubled = SimpleNamespace(from_dlpack=lambda array: array * 2, arange=np.arange)
    monkeypatch.setitem(sys.modules, "numpy", doubled)
    assert look(toy, monkeypatch, tmp_path)["bioviz-toy"].is_problem
