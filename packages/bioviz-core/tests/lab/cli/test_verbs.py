from __future__ import annotations

import json
import os
import pty
import subprocess
import sys

import pytest
from bioviz_core.lab.cli.main import VERBS

BROKEN = "raise ImportError('libcudnn.so.9')"


def with_broken(toy, monkeypatch) -> None:
    toy.install("bad", BROKEN)
    monkeypatch.setenv("BIOVIZ_PLUGINS", "toy,bad")
    monkeypatch.setattr("bioviz_core.registry._registry", toy.discover())


def test_list_prints_one_line_per_thing(toy, bioviz) -> None:
    done = bioviz("list", "toy/*")
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines() == [
        "model       toy/jnet                   numpy  Needs what is not there",
        "model       toy/net                    numpy  A net",
        "experiment  toy/study                  numpy  Settling of a toy",
    ]


def test_list_takes_a_kind_and_part_of_a_name(toy, bioviz) -> None:
    assert len(bioviz("list", "--kind", "model", "oy/n").out.splitlines()) == 1
    nothing = bioviz("list", "no-such-thing")
    assert (nothing.code, nothing.out) == (0, "")
    assert "nothing registered matches" in nothing.err


def test_list_as_json_has_every_field(toy, bioviz) -> None:
    (ref,) = json.loads(bioviz("list", "toy/study", "--json").out)
    assert ref["target"] == "toy_study:Study"
    assert ref["distribution"] == "bioviz-toy 1.0"
    assert json.loads(bioviz("list", "no-such-thing", "--json").out) == []


def test_a_broken_plugin_is_one_line_beside_the_list(toy, bioviz, monkeypatch) -> None:
    with_broken(toy, monkeypatch)
    done = bioviz("list")
    assert done.code == 0
    assert "toy/net" in done.out
    (line,) = done.err.splitlines()
    assert line == ("broken  bad  bioviz-bad 1.0  ImportError: libcudnn.so.9  (see: bioviz doctor)")


def test_doctor_exits_with_1_and_shows_the_traceback(toy, bioviz, monkeypatch) -> None:
    with_broken(toy, monkeypatch)
    done = bioviz("doctor")
    assert done.code == 1
    assert done.out.startswith("python 3.")
    words = [line.split() for line in done.out.splitlines()]
    assert ["broken", "bad", "bioviz-bad", "1.0", "ImportError:", "libcudnn.so.9"] in words
    assert done.out.endswith("1 problem (traceback follows)\n")
    assert 'bioviz_bad_plugin.py", line 1' in done.err
    told = json.loads(bioviz("doctor", "--json").out)
    assert {check["status"] for check in told} == {"ok", "blocked", "broken"}


def test_doctor_of_a_well_machine_exits_with_0(toy, bioviz, monkeypatch) -> None:
    monkeypatch.setenv("BIOVIZ_PLUGINS", "toy")
    monkeypatch.setattr("bioviz_core.registry._registry", toy.discover())
    done = bioviz("doctor")
    assert (done.code, done.err) == (0, "")
    assert "problem" not in done.out


def test_info_shows_options_with_defaults_and_meaning(toy, bioviz) -> None:
    done = bioviz("info", "toy/study")
    assert done.out.splitlines() == [
        "Settling of a toy                                    paper: settling",
        "presets  smoke  laptop  paper                        claims: 1",
        "Does it settle?",
        "option      type   default  meaning",
        "solver.tol  float    1e-05  Stop below this.",
        "model       str    toy/net  Which model.",
        "steps       int          3",
    ]
    assert (done.code, done.err) == (0, "")


def test_info_as_json_is_complete(toy, bioviz) -> None:
    found = json.loads(bioviz("info", "toy/study", "--json").out)
    assert found["options"][0] == {
        "path": "solver.tol",
        "type": "float",
        "default": 1e-5,
        "meaning": "Stop below this.",
        "required": False,
    }
    assert found["claims"][0]["sentence"] == "It settles."
    assert found["presets"]["paper"] == {"solver.tol": 1e-9}
    assert found["paper"]["year"] == 1999


def test_info_warns_of_what_is_missing(toy, bioviz) -> None:
    done = bioviz("info", "toy/jnet")
    assert done.code == 0
    assert done.err == "toy/jnet needs no_such_framework: pip install bioviz-toy\n"


def test_cite_prints_bibtex(toy, bioviz) -> None:
    assert bioviz("cite", "toy/net").out == "@book{nets}\n"
    (entry,) = json.loads(bioviz("cite", "toy/net", "--json").out)
    assert entry["bibtex"] == "@book{nets}"
    nothing = bioviz("cite", "toy/jnet")
    assert (nothing.code, nothing.out) == (0, "")
    assert "no paper is registered for toy/jnet" in nothing.err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["lsit"], 2, "error: No such command 'lsit'. Did you mean 'list'?\nSee: bioviz --help"),
        (["list", "--knd", "x"], 2, "Did you mean '--kind'?\nSee: bioviz list --help"),
        (["list", "--kind", "modle"], 2, "error: Invalid value for '--kind'"),
        (["info"], 2, "error: Missing argument 'NAME'"),
        (["info", "toy/stdy"], 2, "error: no name is called 'toy/stdy'. Did you mean toy/study"),
        (["cite", "."], 1, "error: . is no run directory: it has no run.json"),
        ([], 2, "Usage: bioviz"),
    ],
)
def test_mistakes_end_with_a_line_and_no_traceback(words, code, said, toy, bioviz) -> None:
    done = bioviz(*words)
    assert (done.code, done.out) == (code, "")
    assert said in done.err
    assert "Traceback" not in done.err


def test_debug_shows_the_traceback_wherever_it_stands(toy, bioviz) -> None:
    for words in (["--debug", "info", "x/y"], ["info", "x/y", "--debug"]):
        done = bioviz(*words)
        assert done.code == 2
        assert "Traceback" in done.err
        assert done.err.rstrip().splitlines()[-1].startswith("error: no name is called 'x/y'")


def test_an_unexpected_error_says_how_to_see_its_traceback(toy, bioviz) -> None:
    (toy.folder / "toy_study.py").write_text("raise ZeroDivisionError('a\\nb')")
    done = bioviz("info", "toy/study")
    assert done.code == 1
    assert done.err == "error: ZeroDivisionError: a b\nShow the traceback: add --debug\n"


def test_ctrl_c_exits_with_130(toy, bioviz) -> None:
    (toy.folder / "toy_study.py").write_text("raise KeyboardInterrupt")
    assert bioviz("info", "toy/study").code == 130


def test_help_names_every_verb_and_imports_none(bioviz) -> None:
    code = "import sys\nfrom bioviz_core.lab.cli.main import main\ntry: main(['--help'])\n"
    code += "finally: print(*sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert all(f"  {verb}" in done.stdout for verb in VERBS)
    loaded = set(done.stderr.split())
    assert not {f"bioviz_core.lab.cli.{verb}" for verb in VERBS} & loaded


def test_python_m_bioviz_core_is_the_command() -> None:
    command = [sys.executable, "-m", "bioviz_core", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "bioviz 0.1.0\n"


def on_a_terminal(*words: str, **environment: str) -> str:
    """What the command prints on a terminal of 60 columns."""
    reader, writer = pty.openpty()
    about = {k: v for k, v in os.environ.items() if k != "NO_COLOR"} | {"COLUMNS": "60"}
    subprocess.run(
        [sys.executable, "-m", "bioviz_core", *words],
        stdout=writer,
        stderr=writer,
        env=about | environment,
    )
    os.close(writer)
    printed = b""
    while True:
        try:
            chunk = os.read(reader, 65536)
        except OSError:  # Linux: nobody holds the other side any more.
            break
        if not chunk:
            break
        printed += chunk
    os.close(reader)
    return printed.decode().replace("\r\n", "\n")


def test_a_terminal_gets_colours_and_a_cut_summary_a_pipe_neither(toy) -> None:
    path = os.pathsep.join([str(toy.folder), *sys.path])
    environment = {"PYTHONPATH": path, "BIOVIZ_PLUGINS": "toy"}
    shown = on_a_terminal("list", "toy/jnet", **environment)
    assert "\x1b[1mtoy/jnet" in shown
    assert "…" in shown
    plain = on_a_terminal("list", "toy/jnet", NO_COLOR="1", **environment)
    assert "\x1b" not in plain
    assert max(map(len, plain.splitlines())) == 60
    piped = subprocess.run(
        [sys.executable, "-m", "bioviz_core", "list", "toy/jnet"],
        capture_output=True,
        text=True,
        env=os.environ | environment | {"COLUMNS": "60"},
    )
    assert piped.stdout.endswith("Needs what is not there\n")
    assert "\x1b" not in piped.stdout


def test_a_reader_that_leaves_early_is_no_error(toy) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "bioviz_core", "list", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(toy.folder), *sys.path])},
    )
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert process.stderr.read() == b""
    process.stderr.close()
    assert process.wait() == 0


@pytest.mark.parametrize("words", [["list"], ["list", "--json"]])
def test_list_imports_nothing_heavy(words, toy) -> None:
    code = f"import sys\nfrom bioviz_core.lab.cli.main import main\ntry: main({words!r})\n"
    code += "finally: print(*sys.modules, file=sys.stderr)"
    path = os.pathsep.join([str(toy.folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert "toy/study" in done.stdout
    heavy = {"numpy", "torch", "jax", "pydantic", "scipy", "matplotlib", "rich", "toy_study"}
    assert not heavy & set(done.stderr.split())
