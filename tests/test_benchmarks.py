"""The harness of `benchmarks/` measures what it says it measures."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture
def harness(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """The harness, writing into a folder of its own."""
    spec = importlib.util.spec_from_file_location("harness", ROOT / "benchmarks/harness.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "harness", module)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "RESULTS", tmp_path)
    return module


class Clock:
    """Time passes only while a side works, each time as long as `seconds` says next."""

    def __init__(self, **seconds: list[float]) -> None:
        self.now, self.order = 0.0, ""
        self.seconds = {name: iter(durations) for name, durations in seconds.items()}

    def work(self, name: str) -> None:
        self.order += name[0]
        self.now += next(self.seconds[name], 0.0)


def test_both_sides_run_in_turns_and_nothing_else_is_timed(harness, monkeypatch) -> None:
    clock = Clock(ours=[100.0, 1, 2, 4], peer=[1.0, 2, 8, 12], discarded=[50.0] * 3)
    monkeypatch.setattr(harness.time, "perf_counter", lambda: clock.now)
    row = harness.compare(
        "a case", lambda: clock.work("ours"), lambda: clock.work("peer"), peer_name="a peer",
        errors=(1e-6, 1e-3), oracle="by hand", rounds=3, warm_up=1,
        after_peer=lambda: clock.work("discarded"),
    )  # fmt: skip
    assert clock.order == "op" + "opd" * 3
    assert row.ratio == 3, "the median of the ratios 2, 4 and 3 of the rounds"
    assert (row.low, row.high) == (2, 4)
    assert (row.ours_ms, row.peer_ms) == (2000, 8000)
    assert (row.ours_error, row.peer_error) == (1e-6, 1e-3)


def test_the_table_has_every_row_those_that_lose_too(harness, tmp_path: Path) -> None:
    rows = [harness.Row("won", "peer", 2.5, 2.4, 2.6, 1, 2.5, 1e-7, 1e-5, "float64"),
            harness.Row("lost", "peer", 0.5, 0.4, 0.6, 2, 1, 1e-7, 1e-5, "float64")]  # fmt: skip
    table = harness.write("toy-cpu", rows, packages=["bioviz-core"], threads=1, device="cpu")
    assert "| lost | peer | 0.50 (0.40-0.60) | 2 | 1 | 1.0e-07 | 1.0e-05 | float64 |" in table
    assert (tmp_path / "toy-cpu.md").read_text() == table
    stored = json.loads((tmp_path / "toy-cpu.json").read_text())
    assert [row["ratio"] for row in stored["rows"]] == [2.5, 0.5]
    assert stored["about"]["versions"].keys() == {"bioviz-core"}
    assert stored["about"]["threads"] == 1


def test_every_benchmark_has_its_result(harness) -> None:
    scripts = {p.stem for p in (ROOT / "benchmarks").glob("*.py")} - {"harness"}
    results = {p.stem.partition("-")[0] for p in (ROOT / "benchmarks/results").glob("*.md")}
    assert scripts == results
