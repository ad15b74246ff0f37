from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bioviz_core.errors import ConfigError, DivergedError, RunLockedError, StoppedError
from bioviz_core.lab import execute, rundir
from bioviz_core.lab.atomic import read_json, read_lines
from bioviz_core.lab.record import RunRecord, open_run
from bioviz_core.registry import Registry, isolated_registry

TOY = Path(__file__).with_name("toy.py")
VARYING = {"run.json", "environment.json", "log.txt", "report.html", "metrics.jsonl"}


@pytest.fixture(scope="module")
def toy() -> Iterator[Any]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(TOY.parent))
        patch.delitem(sys.modules, "toy", raising=False)
        import toy

        yield toy


@pytest.fixture(autouse=True)
def registry(toy: Any) -> Iterator[Registry]:
    with isolated_registry() as found:
        found.register(toy.Plugin(), name="toy")
        yield found


def content(path: Path) -> dict[str, Any]:
    """Everything in a directory that must not depend on how the run came about."""
    files = {str(f.relative_to(path)): f.read_bytes() for f in path.rglob("*") if f.is_file()}
    found: dict[str, Any] = {name: files[name] for name in files.keys() - VARYING}
    found["metrics"] = [
        {name: value for name, value in row.items() if name != "time"}
        for row in read_lines(path / "metrics.jsonl")
    ]
    return found


def start(*arguments: Any) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, TOY, *map(str, arguments)], stderr=subprocess.PIPE,
                            text=True)  # fmt: skip


def only(folder: Path) -> Path:
    (path,) = rundir.listing(folder)
    return path


@pytest.fixture(scope="module")
def straight(toy: Any, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What an uninterrupted run leaves, but for its config."""
    with isolated_registry() as found:
        found.register(toy.Plugin(), name="toy")
        return content(execute.run("toy/toy", folder=tmp_path_factory.mktemp("straight")).path)


@pytest.mark.slow
def test_a_run_leaves_everything_and_is_read_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bioviz_core.lab.record.find_spec", lambda name: None)  # without pandas
    record = execute.run("toy/toy", seed=3, folder=tmp_path, rate=0.1)
    assert isinstance(record, RunRecord)
    assert record.status == "finished"
    assert record.config == {
        "experiment": "toy/toy", "preset": "smoke", "seed": 3, "steps": 20, "rate": 0.1,
        "pause": 0.0, "trouble": "",
    }  # fmt: skip
    error = record.summary["scalars"]["error"]
    assert record.summary["numbers"] == [{"label": "Last loss", "value": error, "unit": ""}]
    assert [claim["verdict"] for claim in record.claims] == ["not judged", "holds"]
    assert len([row for row in record.metrics if row["phase"] == "second"]) == 20
    manifest = read_json(record.path / "run.json")
    assert manifest["facts"] == {"data": "made up"}
    assert manifest["question"] == "Does a delta rule find a line?"
    assert manifest["finished"] >= manifest["created"]
    assert "A delta rule" in (record.path / "report.html").read_text()
    assert {path.name for path in record.path.iterdir()} == {
        "run.json", "config.json", "environment.json", "metrics.jsonl", "summary.json", ".lock",
        "report.html", "checkpoints", "figures", "tables", "arrays",
    }  # fmt: skip
    assert not record.path.joinpath(".lock").read_text()


@pytest.mark.slow
def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(tmp_path: Path) -> None:
    one, two, other = (
        content(execute.run("toy/toy", seed=seed, folder=tmp_path, trouble="plain:0").path)
        for seed in (0, 0, 1)
    )
    assert one == two
    assert one["metrics"] != other["metrics"]


@pytest.mark.slow
def test_a_run_can_be_repeated_from_its_own_config(tmp_path: Path) -> None:
    first = execute.run("toy/toy", folder=tmp_path, sets=["steps=3", "trouble='plain:0'"])
    again = execute.run("toy/toy", config=first.path / "config.json", folder=tmp_path)
    assert content(first.path) == content(again.path)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["TERM", "INT"])
def test_a_signal_stops_after_a_checkpoint_and_resume_ends_in_the_same_bytes(
    tmp_path: Path, straight: dict[str, Any], kind: str, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(StoppedError, match="stopped in first, after step 4 of 20") as caught:
        execute.run("toy/toy", folder=tmp_path / "a", trouble=f"{kind}:4")
    path = only(tmp_path / "a")
    assert caught.value.__notes__ == [f"run {path}"]
    assert "stopping at the next step" in capfd.readouterr().err
    assert rundir.status(path) == "stopped"
    assert (path / "report.html").exists()
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    with pytest.raises(StoppedError, match="stopped in second, after step 4 of 20"):
        execute.resume(path)
    record = open_run(path).resume()
    assert record.status == "finished"
    assert without_config(content(path)) == without_config(straight)


def without_config(found: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in found.items() if name != "config.json"}


def test_the_second_signal_stops_at_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Any
) -> None:
    def twice(kind: str, progress: Any) -> None:
        for _ in range(2):
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(toy, "trouble", twice)
    with pytest.raises(KeyboardInterrupt):
        execute.run("toy/toy", folder=tmp_path, trouble="twice:3")
    assert rundir.status(only(tmp_path)) == "stopped"


def test_an_unexpected_error_is_in_the_log_and_the_report_is_built(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError, match="the toy broke") as caught:
        execute.run("toy/toy", folder=tmp_path, trouble="raise:9")
    path = only(tmp_path)
    assert caught.value.__notes__ == [f"run {path}"]
    log = (path / "log.txt").read_text()
    assert "Traceback" in log
    assert "ZeroDivisionError: the toy broke" in log
    assert rundir.status(path) == "failed"
    report = (path / "report.html").read_text()
    assert "This run ended with an error" in report
    assert "the toy broke" in report
    assert not (path / "summary.json").exists()
    assert [f.name for f in path.rglob("step-*")] == ["step-00000007.safetensors"]


def test_a_divergence_fails_the_run_and_keeps_its_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(DivergedError, match="loss is nan at step 10"):
        execute.run("toy/toy", folder=tmp_path, trouble="nan:9")
    path = only(tmp_path)
    assert rundir.status(path) == "failed"
    assert [f.name for f in path.rglob("step-*")] == ["step-00000007.safetensors"]


def test_a_wrong_configuration_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        execute.run("toy/toy", folder=tmp_path, stepz=1, rate="fast")
    assert {problem.path for problem in caught.value.problems} == {"stepz", "rate"}
    with pytest.raises(ConfigError, match="-1 must not be negative"):
        execute.run("toy/toy", folder=tmp_path, seed=-1)
    assert list(tmp_path.iterdir()) == []


def test_a_finished_run_is_not_run_again(tmp_path: Path) -> None:
    record = execute.run("toy/toy", folder=tmp_path, steps=2)
    before = {f: f.stat().st_mtime_ns for f in record.path.rglob("*")}
    assert execute.resume(record.path).id == record.id
    assert before == {f: f.stat().st_mtime_ns for f in record.path.rglob("*")}
    (record.path / "report.html").unlink()
    assert (execute.resume(record.path).path / "report.html").exists()


def test_a_run_that_returns_no_numbers_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Any
) -> None:
    monkeypatch.setattr(toy.Toy, "run", lambda self, config, run: {"error": "small"})
    with pytest.raises(TypeError, match="error must be a number, got 'small'"):
        execute.run("toy/toy", folder=tmp_path)
    monkeypatch.setattr(toy.Toy, "run", lambda self, config, run: None)
    with pytest.raises(TypeError, match="must return numbers by name, got None"):
        execute.resume(only(tmp_path))


def test_seeds_may_come_as_an_array(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy: Any
) -> None:
    values = {"error": np.arange(3.0), "finite": (0, 0)}
    monkeypatch.setattr(toy.Toy, "run", lambda self, config, run: values)
    record = execute.run("toy/toy", folder=tmp_path)
    assert record.summary["scalars"] == {"error": [0.0, 1.0, 2.0], "finite": [0.0, 0.0]}


@pytest.mark.slow
def test_observers_see_a_run_and_cannot_stop_it(tmp_path: Path, toy: Any) -> None:
    for broken in (False, True):
        with isolated_registry() as registry:
            plugin = toy.Plugin(broken)
            registry.register(plugin, name="toy")
            record = execute.run("toy/toy", folder=tmp_path / str(broken), steps=5)
        error = record.summary["scalars"]["error"]
        steps = [1] if broken else [1, 2, 3, 4, 5, 5] * 2
        assert plugin.seen == ["started", *steps, error]
    log = (record.path / "log.txt").read_text()
    assert log.count("RuntimeError: an observer broke") == 1
    assert "a hook of toy" in log


def test_a_run_outside_the_main_thread_leaves_signals_alone(tmp_path: Path) -> None:
    found = []
    thread = threading.Thread(
        target=lambda: found.append(execute.run("toy/toy", folder=tmp_path, steps=2))
    )
    thread.start()
    thread.join()
    assert found[0].status == "finished"


def test_other_processes_of_one_job_write_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RANK", "1")
    execute.run("toy/toy", folder=tmp_path, steps=3)
    assert list(tmp_path.iterdir()) == []


def test_changed_versions_are_noted_on_resume(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError):
        execute.run("toy/toy", folder=tmp_path, trouble="raise:9")
    path = only(tmp_path)
    said = (path / "environment.json").read_text()
    (path / "environment.json").write_text(said.replace(np.__version__, "1.0"))
    with pytest.raises(ZeroDivisionError):
        execute.resume(path)
    assert f"numpy was 1.0 and is now {np.__version__}" in (path / "log.txt").read_text()


@pytest.mark.slow
def test_two_writers_are_refused(tmp_path: Path) -> None:
    process = start(tmp_path, "pause=0.2")
    try:
        path = wait_for(lambda: only(tmp_path))
        wait_for(lambda: (path / "metrics.jsonl").stat().st_size)
        assert rundir.status(path) == "running"
        with pytest.raises(RunLockedError, match=f"is being written by process {process.pid} on"):
            execute.resume(path)
    finally:
        process.kill()
        process.communicate()
    assert rundir.status(path) == "crashed"


def wait_for(call: Any) -> Any:
    end = time.monotonic() + 30
    while True:
        try:
            if found := call():
                return found
        except (ValueError, OSError):
            pass
        assert time.monotonic() < end, "the process did not start"
        time.sleep(0.01)


@pytest.mark.slow
def test_killed_at_random_moments_a_run_resumes_to_the_same_bytes(
    tmp_path: Path, straight: dict[str, Any]
) -> None:
    # Together the kills come within two of the three seconds that the steps take.
    moments, changed = random.Random(1), 0
    process = start(tmp_path / "killed", "pause=0.075")
    path = wait_for(lambda: only(tmp_path / "killed"))
    metrics = path / "metrics.jsonl"
    for number in range(4):
        if number:  # the first kill may come before the first step
            wait_for(lambda: metrics.stat().st_size and metrics.stat().st_mtime_ns > changed)  # noqa: B023
        time.sleep(moments.uniform(0, 0.5))
        process.kill()
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert open_run(path).status in ("created", "crashed")
        changed = metrics.stat().st_mtime_ns if metrics.exists() else 0
        process = start(path)
    process.communicate()
    assert process.returncode == 0
    assert open_run(path).status == "finished"
    assert without_config(content(path)) == without_config(straight)


@pytest.mark.slow
def test_a_kill_in_the_middle_of_a_write_is_survived(
    tmp_path: Path, straight: dict[str, Any]
) -> None:
    process = start(tmp_path / "killed", "trouble='KILL:9'")
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    path = only(tmp_path / "killed")
    assert rundir.status(path) == "crashed"
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"phase": "first", "st')
    (path / "arrays").mkdir(exist_ok=True)
    (path / "arrays" / ".weights.npy.1.tmp").write_bytes(b"half")
    config = path / "config.json"
    config.write_text(config.read_text().replace("KILL:9", ""))
    execute.resume(path)
    assert content(path) == straight


@pytest.mark.slow
def test_a_disk_that_fills_up_is_said_and_resumed_from(
    tmp_path: Path, straight: dict[str, Any]
) -> None:
    # Files may have 4 KiB: the metrics outgrow them in the second phase.
    command = f"ulimit -f 4; exec '{sys.executable}' '{TOY}' '{tmp_path / 'full'}'"
    done = subprocess.run(["bash", "-c", command], capture_output=True, text=True)
    assert done.returncode == 1
    assert "no room on the disk to write" in done.stderr
    path = only(tmp_path / "full")
    assert rundir.status(path) == "failed"
    assert list(path.glob("checkpoints/second/step-*"))
    assert content(execute.resume(path).path) == straight
