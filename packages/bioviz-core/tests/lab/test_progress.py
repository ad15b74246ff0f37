from __future__ import annotations

import io
import sys

import pytest
from bioviz_core.lab import progress
from bioviz_core.lab.progress import Bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_shows_phase_bar_count_and_metric(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    monkeypatch.setenv("TERM", "xterm")
    bar = Bar("sweep", 30, done=10)
    bar.step(30, "residual", 8.1e-8)
    bar.close()
    said = terminal.getvalue()
    assert "sweep" in said
    assert "━" in said
    assert "30/30" in said
    assert "residual 8.1e-08" in said


def test_off_a_terminal_each_tenth_is_a_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "QUIET", -1.0)
    bar = Bar("sweep", 30)
    for step in range(1, 31):
        bar.step(step, "residual", 2e-5)
    bar.close()
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 10
    assert lines[4] == "sweep 15/30 0:00:00 residual 2e-05"


def test_a_short_phase_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    bar = Bar("fit", 3)
    for step in range(1, 4):
        bar.step(step)
    bar.close()
    assert capsys.readouterr().err == "fit 3/3 0:00:00\n"


def test_a_long_silence_is_broken(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(progress, "SILENCE", -1.0)
    bar = Bar("fit", None)
    bar.step(1)
    assert capsys.readouterr().err == "fit 1 0:00:00\n"
