"""Every plugin's first experiment survives SIGKILL: it ends in the bytes of a quiet run."""

from __future__ import annotations

from pathlib import Path

import bioviz_core as bv
import drill
import pytest

FIRST = {ref.plugin: ref.name for ref in reversed(bv.list("experiment"))}


@pytest.mark.slow
@pytest.mark.parametrize("experiment", sorted(FIRST.values()))
def test_a_killed_run_resumes_to_the_same_bytes(experiment: str, tmp_path: Path) -> None:
    alone, seconds = drill.run_alone(experiment, tmp_path / "alone")
    killed = drill.run_killed(experiment, tmp_path / "killed", [0.6 * seconds, 0.4 * seconds])
    assert drill.differences(alone, killed) == []
