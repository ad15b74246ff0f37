from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bioviz_core.errors import DivergedError, RunLockedError, RunStateError, StoppedError
from bioviz_core.interfaces import Result
from bioviz_core.lab import rundir
from bioviz_core.lab.atomic import append, read_json, read_lines
from bioviz_core.lab.run import Run
from matplotlib.figure import Figure


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return rundir.create(tmp_path / "runs", "toy/thing", {"title": "A toy"}, config={"seed": 0})


@pytest.fixture
def run(path: Path) -> Iterator[Run]:
    with Run(path, seed=0) as run:
        yield run


@contextmanager
def again(run: Run) -> Iterator[Run]:
    run.close()
    with Run(run.path, seed=run.seed) as resumed:
        yield resumed


# The directory


def test_a_new_directory_is_complete_and_listed(tmp_path: Path, path: Path) -> None:
    manifest = rundir.read_manifest(path)
    assert path.name.startswith("toy-thing-20")
    assert manifest["id"] == path.name
    assert (manifest["format"], manifest["status"], manifest["title"]) == (1, "created", "A toy")
    assert read_json(path / "config.json") == {"seed": 0}
    other = rundir.create(tmp_path / "runs", "toy/thing", {})
    (tmp_path / "runs" / "junk").mkdir()
    assert set(rundir.listing(tmp_path / "runs")) == {path, other}


def test_one_directory_that_cannot_be_read_does_not_hide_the_others(path: Path) -> None:
    (path.parent / "odd").mkdir()
    (path.parent / "odd" / "run.json").write_text('{"format": 99}')
    with pytest.warns(UserWarning, match="odd has format 99"):
        assert rundir.listing(path.parent) == [path]


def test_a_second_writer_is_refused_with_the_first_ones_name(path: Path) -> None:
    with rundir.locked(path):
        assert f"process {os.getpid()}" in str(rundir.owner(path))
        with pytest.raises(RunLockedError, match=f"process {os.getpid()} on "), rundir.locked(path):
            pass
    assert rundir.owner(path) is None
    with rundir.locked(path):
        pass


def test_a_run_whose_writer_died_has_crashed(path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from bioviz_core.lab import rundir\n"
        "path = Path(sys.argv[1]); lock = rundir.locked(path); lock.__enter__()\n"
        "rundir.update_manifest(path, status='running')\n"
        "(path / '.half.json.1.tmp').write_text('{')\n"
        "print(rundir.status(path), flush=True); os.kill(os.getpid(), 9)"
    )
    done = subprocess.run([sys.executable, "-c", code, path], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (-9, "running\n")
    assert rundir.status(path) == "crashed"
    with rundir.locked(path):
        assert not list(path.glob(".half*"))
        assert rundir.status(path) == "running"


@pytest.mark.parametrize("name", ["../up", "/etc/passwd", ".hidden", "a/b", "", "a\n", "ü", ".."])
def test_a_name_that_leads_elsewhere_is_refused(run: Run, name: str) -> None:
    calls: list[Any] = [
        lambda: run.array(name, np.ones(1)),
        lambda: run.table(name, {"a": [1]}),
        lambda: run.figure(name, Figure(), "Finding."),
        lambda: run.array_writer(name, (1,), "float32"),
        lambda: run.checkpoint(1, {}, phase=name),
        lambda: run.restore(phase=name),
    ]
    for call in calls:
        with pytest.raises(ValueError, match="cannot name a file"):
            call()


def test_a_link_that_leads_outside_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (run.path / "arrays").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(RunStateError, match="leads outside the run directory"):
        run.array("a", np.ones(1))
    (run.path / "tables").mkdir()
    (run.path / "tables" / "t.csv").symlink_to(tmp_path / "elsewhere" / "t.csv")
    with pytest.raises(RunStateError, match="leads outside"):
        run.table("t", {"a": [1]})
    assert not list((tmp_path / "elsewhere").iterdir())


# Metrics


def test_logged_rows_come_back_without_the_clock(run: Run) -> None:
    run.log(1, loss=np.float32(0.5), accuracy=1)
    run.log(2, phase="test", loss=np.asarray(0.25))
    assert run.metrics("test") == [{"phase": "test", "step": 2, "loss": 0.25}]
    assert len(run.metrics()) == 2
    row = read_lines(run.path / "metrics.jsonl")[0]
    assert list(row) == ["phase", "step", "time", "loss", "accuracy"]


@pytest.mark.parametrize("value", ["0.5", None, [1.0], np.ones(1), 1j])
def test_what_is_no_number_is_not_logged(run: Run, value: object) -> None:
    with pytest.raises(TypeError, match="loss must be a number"):
        run.log(1, loss=value)
    assert run.metrics() == []


def test_a_value_that_is_not_finite_is_a_divergence(run: Run) -> None:
    with pytest.raises(DivergedError, match="loss is inf at step 3"):
        run.log(3, loss=float("inf"))


def test_a_metric_cannot_take_a_reserved_name(run: Run) -> None:
    with pytest.raises(ValueError, match="cannot be called 'time'"):
        run.log(1, time=1.0)


def test_logging_costs_little(run: Run, tmp_path: Path) -> None:
    def best(call: Any) -> float:
        times = []
        for _ in range(50):
            start = time.perf_counter()
            for step in range(20):
                call(step)
            times.append((time.perf_counter() - start) / 20)
        return min(times)

    lines = (tmp_path / "raw").open("ab", buffering=0)
    row = {"phase": "fit", "step": 1, "time": 1.0, "loss": 0.25, "accuracy": 0.5}
    raw = best(lambda step: append(lines, row))
    lines.close()
    took = best(lambda step: run.log(step, loss=0.25, accuracy=0.5))
    assert took < 50e-6
    assert took < 4 * raw


def test_rows_after_the_newest_checkpoint_are_logged_again(run: Run) -> None:
    for step in range(1, 6):
        run.log(step, loss=float(step))
        if step == 3:
            run.checkpoint(3, {"w": np.ones(1)})
    with again(run) as resumed:
        assert len(read_lines(run.path / "metrics.jsonl")) == 3
        step, _ = resumed.restore() or (0, None)
        assert step == 3
        assert len(resumed.metrics()) == 3
        resumed.log(4, loss=4.0)
        assert [row["step"] for row in resumed.metrics()] == [1, 2, 3, 4]


def test_logging_over_kept_rows_changes_nothing(run: Run) -> None:
    def experiment(run: Run, upto: int) -> None:
        run.begin("a")
        done = (run.restore(phase="a") or (0, None))[0]
        for step in range(done + 1, 4):
            run.log(step, phase="a", loss=float(step))
            run.log(step, phase="inside", score=float(step))
        if not done:
            run.checkpoint(3, {}, phase="a")
        run.log(0, phase="between", accuracy=0.5)
        run.begin("b")
        done = (run.restore(phase="b") or (0, None))[0]
        for step in range(done + 1, upto):
            run.log(step, phase="b", loss=float(step))
            run.checkpoint(step, {}, phase="b")
        run.log(0, phase="between", accuracy=0.5)

    experiment(run, 3)
    before = [(r["phase"], r["step"]) for r in run.metrics()]
    for _ in range(2):
        with again(run) as resumed:
            experiment(resumed, 3)
            assert [(r["phase"], r["step"]) for r in resumed.metrics()] == before
    assert len(before) == 3 * 2 + 1 + 2 + 1


def test_another_experiment_cannot_go_on_with_a_runs_metrics(run: Run) -> None:
    run.log(1, phase="a", loss=1.0)
    run.checkpoint(1, {}, phase="b")
    why = "is step 1 of a, but the resumed run logs step 1 of c"
    with again(run) as resumed, pytest.raises(RunStateError, match=why):
        resumed.log(1, phase="c", loss=1.0)


# Checkpoints


def test_a_phase_keeps_its_newest_and_its_best_checkpoint(run: Run) -> None:
    for step, metric in enumerate([3.0, 1.0, 2.0, 5.0], 1):
        run.checkpoint(step, {"w": np.full(2, step)}, metric=metric)
    kept = sorted(file.name for file in (run.path / "checkpoints/fit").iterdir())
    assert kept == ["step-00000002.safetensors", "step-00000004.safetensors"]
    step, tree = run.restore({"w": np.zeros(2, int)}) or (0, None)
    assert step == 4
    np.testing.assert_array_equal(tree["w"], 4)


def test_a_checkpoint_that_a_kill_left_over_is_removed_on_resume(run: Run) -> None:
    run.checkpoint(2, {})
    kept = run.path / "checkpoints/fit/step-00000002.safetensors"
    kept.with_name("step-00000001.safetensors").write_bytes(kept.read_bytes())
    with again(run) as resumed:
        assert (resumed.restore() or (0,))[0] == 2
    assert list(kept.parent.iterdir()) == [kept]


def test_nothing_to_restore_is_none(run: Run) -> None:
    assert run.restore(phase="fit") is None


def test_two_phases_of_one_name_are_refused(run: Run) -> None:
    run.begin("fit")
    with pytest.raises(ValueError, match="the phase 'fit' was used before"):
        run.begin("fit")


def test_numbers_and_the_order_of_figures_survive_a_resume(run: Run) -> None:
    run.figure("first", Figure(), "One.")
    run.number("Accuracy", 0.5, "%")
    run.checkpoint(1, {})
    with again(run) as resumed:
        resumed.restore()
        resumed.figure("second", Figure(), "Two.")
        assert read_json(run.path / "figures/second.json")["order"] == 1
        assert list(resumed.numbers) == ["Accuracy"]


# What the report shows


def test_a_figure_is_saved_twice_the_same_with_its_words(run: Run) -> None:
    figure = Figure()
    axes = figure.subplots()
    axes.plot([0, 1], [1, 0], label="oja")
    axes.set(xlabel="step", ylabel="loss (nats)", title="Learning")
    run.figure("curve", figure, "Loss falls to 0.\nOne line per rule.", key=True)
    first = {file.name: file.read_bytes() for file in (run.path / "figures").iterdir()}
    run.figure("curve", figure, "Loss falls to 0.\nOne line per rule.", key=True)
    assert first == {file.name: file.read_bytes() for file in (run.path / "figures").iterdir()}
    assert set(first) == {"curve.svg", "curve.png", "curve.json"}
    about = read_json(run.path / "figures/curve.json")
    alt = "plot 'Learning' of loss (nats) against step for oja. Loss falls to 0."
    assert about == {
        "caption": "Loss falls to 0.\nOne line per rule.", "alt": alt, "key": True, "order": 0,
        "notes": [],
    }  # fmt: skip


def test_a_result_draws_itself_and_brings_its_notes(run: Run) -> None:
    result = Result({}, draw=lambda ax: ax.plot([1, 2]) and None, notes=("one silent unit",))
    run.figure("result", result, "It rises.", alt="A rising line")
    about = read_json(run.path / "figures/result.json")
    assert (about["alt"], about["notes"]) == ("A rising line", ["one silent unit"])


def test_a_figure_without_a_caption_is_refused(run: Run) -> None:
    with pytest.raises(ValueError, match="needs a caption"):
        run.figure("a", Figure(), "  ")


def test_columns_must_be_of_equal_length(run: Run) -> None:
    run.table("t", {"rule": ["a", "b"], "loss": np.array([0.1, 2.0])}, "Losses")
    assert (run.path / "tables/t.csv").read_text() == "rule,loss\na,0.1\nb,2.0\n"
    assert read_json(run.path / "tables/t.json") == {"caption": "Losses"}
    with pytest.raises(ValueError, match="differ in length"):
        run.table("u", {"a": [1], "b": []})


def test_facts_and_notes_are_kept(run: Run) -> None:
    run.fact("data", "digits")
    run.fact("task", "digits")
    run.note("something odd")
    facts = rundir.read_manifest(run.path)["facts"]
    assert facts == {"data": "digits", "task": "digits"}
    assert (run.path / "log.txt").read_text().endswith("something odd\n")


# Arrays


def test_an_array_filled_in_place_keeps_what_a_checkpoint_stands_on(run: Run) -> None:
    rows = run.array_writer("rows", (4, 2), "float32")
    rows[:2] = 1
    run.checkpoint(2, {})
    rows[2] = 9
    with again(run) as resumed:
        rows = resumed.array_writer("rows", (4, 2), "float32")
        np.testing.assert_array_equal(rows[:2], 1)
        rows[2:] = 2
    np.testing.assert_array_equal(np.load(run.path / "arrays/rows.npy").sum(1), [2, 2, 4, 4])
    why = r"holds another array than float32 \(3, 2\)"
    with again(run) as resumed, pytest.raises(RunStateError, match=why):
        resumed.array_writer("rows", (3, 2), "float32")


def test_a_torch_array_is_saved(run: Run) -> None:
    import torch

    run.array("w", torch.ones(2, dtype=torch.bfloat16, requires_grad=True))
    np.testing.assert_array_equal(np.load(run.path / "arrays/w.npy"), np.ones(2, np.float32))


# Stopping, and other processes


def test_a_tracked_loop_stops_when_asked(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    seen = []

    def sweep() -> None:
        for item in run.track(range(9), "sweep"):
            seen.append(item)
            run.should_stop = item == 1

    with pytest.raises(StoppedError, match="stopped in sweep, before 3 of 9"):
        sweep()
    assert seen == [0, 1]
    assert capfd.readouterr().err == "sweep 2/9 0:00:00\n"


def test_another_process_reads_but_writes_nothing(run: Run) -> None:
    run.checkpoint(1, {"w": 1})
    files = {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
    other = Run(run.path, seed=0, writes=False)
    assert other.restore() == (1, {"w": 1})
    other.log(1, loss=0.5)
    other.table("t", {"a": [1]})
    other.array("a", np.ones(1))
    other.array_writer("b", (2,), "float32")[:] = 1
    other.figure("f", Figure(), "Finding.")
    other.fact("data", "x")
    other.note("x")
    other.checkpoint(2, {"w": 2})
    other.close()
    assert files == {file: file.read_bytes() for file in run.path.rglob("*") if file.is_file()}
