"""Registering is light, and every registered thing is there."""

from __future__ import annotations

import subprocess
import sys

import bioviz_butd as butd
import bioviz_core as bv
import pytest


def test_registering_imports_no_framework() -> None:
    code = (
        "import sys, bioviz_butd.plugin\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'matplotlib', 'pydantic')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_everything_registered_can_be_imported() -> None:
    names = [ref for ref in bv.list() if ref.plugin == "butd"]
    assert {"butd/counter-hebb", "butd/fc", "butd/weight-alignment"} <= {r.name for r in names}
    for ref in names:
        assert callable(ref.load())


def test_every_public_name_exists() -> None:
    for name in dir(butd):
        assert getattr(butd, name) is not None
        assert type(getattr(butd, name)).__name__ != "module", name
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        butd.nothing  # noqa: B018
