from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest
from bioviz_core.lab import rundir
from bioviz_core.lab.atomic import write_json
from bioviz_core.lab.claims import PartVerdict, Verdict
from bioviz_core.lab.cli.run import show
from bioviz_core.lab.record import RunRecord


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def only_run(folder: str = "runs") -> Path:
    (path,) = Path(folder).iterdir()
    return path


def stored(name: str = "config.json") -> dict[str, object]:
    found: dict[str, object] = json.loads((only_run() / name).read_text())
    return found


def test_run_prints_where_it_is_what_it_claims_and_its_report(toy, bioviz) -> None:
    done = bioviz("run", "toy/study")
    path = only_run()
    assert done.code == 0
    assert done.out.splitlines() == [
        f"run     {path}",
        "claims  0 judged (smoke preset)",
        f"report  {path}/report.html",
    ]
    assert (path / "report.html").is_file()


def test_options_reach_the_run(toy, bioviz, monkeypatch) -> None:
    monkeypatch.setenv("PJRT_NPROC", "7")
    words = ["--preset", "paper", "--seed", "7", "--set", "steps=2", "--set", "model=toy/net"]
    assert bioviz("run", "toy/study", *words, "--device", "cpu", "--threads", "1").code == 0
    config = stored()
    assert (config["preset"], config["seed"], config["steps"]) == ("paper", 7, 2)
    assert config["solver"] == {"tol": 1e-9}
    assert os.environ["PJRT_NPROC"] == "1"  # XLA reads it before there is a `fit`


def test_a_config_file_names_what_to_run_and_the_command_line_wins(toy, bioviz) -> None:
    Path("mine.toml").write_text(
        'experiment = "toy/study"\npreset = "laptop"\nseed = 4\nsteps = 5\n'
    )
    assert bioviz("run", "mine.toml", "--seed", "9", "--set", "solver.tol=1").code == 0
    config = stored()
    assert (config["preset"], config["seed"], config["steps"]) == ("laptop", 9, 5)
    assert config["solver"] == {"tol": 1.0}


def test_the_config_of_a_run_repeats_it(toy, bioviz) -> None:
    assert bioviz("run", "toy/study", "--set", "steps=2").code == 0
    first = only_run()
    done = bioviz("run", str(first / "config.json"), "--runs", "again")
    assert done.code == 0
    again = only_run("again")
    for name in ("config.json", "summary.json"):
        assert (again / name).read_bytes() == (first / name).read_bytes()


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("steps = 1", "experiment  Field required"),
        ('experiment = "toy/study"\nseed = "x"', "seed  'x' must be a valid integer"),
        ("experiment = 3", "experiment  3 must be a valid string"),
        ("experiment = ", "cannot be read as TOML"),
    ],
)
def test_a_config_file_that_names_nothing_is_an_error(text, said, toy, bioviz) -> None:
    Path("mine.toml").write_text(text)
    done = bioviz("run", "mine.toml")
    assert (done.code, done.out) == (2, "")
    assert said in done.err


def test_problems_of_the_configuration_come_at_once_with_code_2(toy, bioviz) -> None:
    done = bioviz("run", "toy/study", "--set", "solver.tl=1", "--set", "steps=0")
    assert done.code == 2
    assert "error: 2 problems in the configuration of toy/study" in done.err
    assert "Did you mean solver.tol?" in done.err
    assert "0 must be greater than or equal to 1 (from --set)" in done.err
    assert not Path("runs").exists()


def test_an_unknown_experiment_is_code_2_with_a_near_match(toy, bioviz) -> None:
    done = bioviz("run", "toy/studdy")
    assert done.code == 2
    assert "Did you mean toy/study?" in done.err


def test_an_unexpected_error_names_the_log_of_its_run(toy, bioviz) -> None:
    done = bioviz("run", "toy/study", "--set", "steps=13")
    log = only_run() / "log.txt"
    assert done.code == 1
    assert done.err.splitlines()[-2:] == [
        "error: ZeroDivisionError: unlucky",
        f"The traceback is in log.txt of run {only_run()}",
    ]
    assert "Traceback" not in done.err
    assert "ZeroDivisionError: unlucky" in log.read_text()


def test_a_run_that_was_asked_to_stop_exits_with_130(toy, bioviz) -> None:
    done = bioviz("run", "toy/study", "--set", "steps=14")
    assert done.code == 130
    assert done.err.splitlines()[-1] == "stopped after step 2"
    assert done.out == f"run     {only_run()}\n"


def test_json_is_the_whole_outcome(toy, bioviz) -> None:
    found = json.loads(bioviz("run", "toy/study", "--json").out)
    assert (found["status"], found["scalars"]) == ("finished", {"residual": 1.0})
    assert found["claims"][0]["id"] == "T-1"


def test_a_missed_claim_is_shown_and_is_code_3_only_when_strict(toy, bioviz) -> None:
    words = ("run", "toy/study", "--preset", "laptop", "--set", "steps=4")
    done = bioviz(*words)
    assert done.code == 0
    assert "claims  1 missed" in done.out
    assert "missed  It settles.   4, asked ≤ 1" in done.out
    assert bioviz(*words, "--strict").code == 3


def test_a_finished_run_is_shown_again_and_its_report_can_be_rewritten(toy, bioviz) -> None:
    first = bioviz("run", "toy/study")
    path = only_run()
    assert bioviz("resume", str(path)) == first
    (path / "report.html").unlink()
    done = bioviz("report", str(path))
    assert (done.code, done.out) == (0, f"{path}/report.html\n")
    assert (path / "report.html").is_file()
    assert bioviz("cite", str(path)).out.startswith("@article{settling,")


def test_paths_that_are_no_run_are_errors(toy, bioviz) -> None:
    Path("empty").mkdir()
    assert bioviz("resume", "nowhere").code == 2
    for verb in ("resume", "report"):
        done = bioviz(verb, "empty")
        assert done.code == 1
        assert done.err.startswith("error: empty")


def test_the_run_line_comes_before_the_work_is_done(toy, bioviz) -> None:
    bioviz("run", "toy/study", "--set", "steps=13")
    done = bioviz("run", "toy/study", "--set", "steps=13", "--runs", "other")
    assert done.out == f"run     {only_run('other')}\n"


def test_claims_are_counted_by_verdict_and_missed_ones_told(capsys) -> None:
    def verdict(word: str, *, passed: bool | None) -> Verdict:
        part = PartVerdict("width", "<=", 10.0, "%", 14.0, None, None, 1, (14.0,), passed)
        return Verdict("X", f"It is {word}.", "Fig. 1", word, (), (part,))  # type: ignore[arg-type]

    found = [
        verdict("holds", passed=True),
        verdict("reproduced", passed=True),
        verdict("refuted", passed=False),
        verdict("not judged", passed=None),
    ]
    path = rundir.create(Path("runs"), "toy/study", {"preset": "laptop"})
    write_json(path / "summary.json", {"claims": [asdict(verdict) for verdict in found]})
    assert show(RunRecord(path), strict=True, as_json=False) == 3
    assert capsys.readouterr().out.splitlines() == [
        "claims  2 hold  1 missed  1 not judged",
        "missed  It is refuted.   14\N{NO-BREAK SPACE}%, asked ≤ 10",
        f"report  {path}/report.html",
    ]


@pytest.mark.slow
def test_run_in_a_process_of_its_own_keeps_stdout_for_results(toy, monkeypatch) -> None:
    monkeypatch.setenv("PYTHONPATH", ":".join([str(toy.folder), *sys.path]))
    command = [sys.executable, "-m", "bioviz_core", "run", "toy/study"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["run", "claims", "report"]


def test_compare_shows_what_differs_in_every_form(toy, bioviz) -> None:
    for steps in (1, 3):
        assert bioviz("run", "toy/study", "--set", f"steps={steps}", "--runs", "two").code == 0
    paths = sorted(map(str, Path("two").iterdir()), key=lambda path: stored_steps(Path(path)))
    done = bioviz("compare", *paths)
    assert done.code == 0
    words = [line.split() for line in done.out.splitlines()]
    assert [path.rpartition("-")[2] for path in paths] == words[0][:2]
    assert ["residual", "1", "3", "+2"] in words
    assert "solver" not in done.out
    found = json.loads(bioviz("compare", *paths, "--json").out)
    assert {row["name"] for row in found["rows"]} >= {"steps", "residual"}
    assert bioviz("compare", *paths, "--csv").out.startswith("kind,name,")
    assert bioviz("compare", *paths, "--html").out.startswith("<table")


def test_comparing_one_run_is_an_error(toy, bioviz) -> None:
    bioviz("run", "toy/study")
    done = bioviz("compare", str(only_run()))
    assert done.code == 1
    assert "at least two runs" in done.err


def stored_steps(path: Path) -> int:
    steps = json.loads((path / "config.json").read_text())["steps"]
    assert isinstance(steps, int)
    return steps
