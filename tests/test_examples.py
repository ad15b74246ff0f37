"""The gallery's scripts run as they stand, and learn what they say they learn."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest
from matplotlib.figure import Figure

SCRIPTS = sorted((Path(__file__).parent.parent / "examples").glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_a_gallery_script_runs_and_draws_its_figure(script: Path) -> None:
    made = runpy.run_path(str(script))
    assert isinstance(made["figure"], Figure)
    # Chance is 0.1 where a script classifies.
    assert made.get("accuracy", 1.0) > 0.85


def test_there_is_a_gallery() -> None:
    assert SCRIPTS
