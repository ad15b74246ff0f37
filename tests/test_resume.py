"""One rule of each package, killed by SIGKILL in the middle of `fit`, ends in the same bytes."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path

import cases
import drill
import pytest
from bioviz_core.lab import rundir

KILLED = [
    "butd/counter-hebb", "core/local", "fastweights/gradient-write", "hopfield/prototype",
    "nrf/persistent-contrastive-divergence", "predictive-coding/predictive-coding",
    "ssn/implicit-gradient",
]  # fmt: skip
CHILD = """
import sys
sys.path.insert(0, sys.argv[1])
from pathlib import Path
import cases
cases.train(sys.argv[2], Path(sys.argv[3]), kill_at=3)
"""


@pytest.mark.slow
@pytest.mark.parametrize("rule", KILLED)
def test_a_fit_that_was_killed_ends_in_the_bytes_of_one_left_alone(
    rule: str, tmp_path: Path
) -> None:
    alone, killed = (rundir.create(tmp_path, name, {}, config={}) for name in ("alone", "killed"))
    cases.train(rule, alone)
    words = [sys.executable, "-c", CHILD, str(Path(__file__).parent), rule, str(killed)]
    done = subprocess.run(words, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not list(killed.glob("checkpoints/*/*5.safetensors")), "it was killed before its end"
    cases.train(rule, killed)
    assert "checkpoints/fit/step-00000005.safetensors" in drill.contents(killed)
    assert drill.differences(alone, killed) == []
