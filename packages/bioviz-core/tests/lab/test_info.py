from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import bioviz_core as bv
import pytest
from bioviz_core.errors import CheckpointError, RunStateError, UnknownNameError
from bioviz_core.lab import rundir
from bioviz_core.lab.checkpoint import save_tree
from bioviz_core.lab.info import cite, info, papers


def test_info_of_an_experiment_has_options_presets_and_claims(toy) -> None:
    found = info("toy/study")
    assert [option.path for option in found.options] == ["solver.tol", "model", "steps"]
    assert found.options[0].meaning == "Stop below this."
    assert list(found.presets or ()) == ["smoke", "laptop", "paper"]
    assert [claim.id for claim in found.claims] == ["T-1"]
    assert (found.question, found.signature) == ("Does it settle?", "")
    assert found.paper is not None
    assert found.paper.id == "settling"


def test_info_of_a_model_has_its_signature_and_arguments(toy) -> None:
    found = info("toy/net")
    assert found.signature == "Net(width: int, *, depth: int = 2, scale: float = 0.5)"
    told = [(o.path, o.type, o.default, o.required) for o in found.options]
    assert told == [
        ("width", "int", None, True),
        ("depth", "int", 2, False),
        ("scale", "float", 0.5, False),
    ]


def test_info_says_what_is_missing_and_shows_the_rest(toy) -> None:
    found = info("toy/jnet")
    assert found.ref.summary == "Needs what is not there"
    assert found.missing == "toy/jnet needs no_such_framework: pip install bioviz-toy"


def test_info_of_an_experiment_without_a_framework_loads_none(toy) -> None:
    code = "import sys, bioviz_core as bv; bv.info('toy/study'); print(*sys.modules)"
    path = os.pathsep.join([str(toy.folder), *sys.path])
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert not {"torch", "jax", "numpy", "matplotlib"} & set(done.stdout.split())


def test_info_of_nothing_is_unknown(toy) -> None:
    with pytest.raises(UnknownNameError, match="toy/study"):
        info("toy/studdy")


def test_citing_an_experiment_includes_what_its_options_name(toy) -> None:
    assert [paper.id for paper in papers("toy/study")] == ["settling", "nets"]
    assert cite("toy/study") == (
        "@article{settling,\n"
        "  title = {{On settling}},\n"
        "  author = {Ada A. and Bo B.},\n"
        "  year = {1999},\n"
        "  doi = {10.1/x},\n"
        "}\n\n"
        "@book{nets}"
    )
    assert cite("toy/jnet") == ""
    with pytest.raises(UnknownNameError):
        cite("toy/nothing")


def make_run(folder: Path, name: str, experiment: str, **config: object) -> Path:
    path = rundir.create(folder, experiment, {}, config={"experiment": experiment, **config})
    return path.rename(folder / name)


def test_citing_a_run_includes_its_options_models_and_inputs(toy, tmp_path) -> None:
    plain = make_run(tmp_path, "plain", "toy/study")
    assert [paper.id for paper in papers(plain)] == ["settling"]

    named = make_run(tmp_path, "named", "toy/study", inner={"models": ["toy/net"]})
    assert [paper.id for paper in papers(str(named))] == ["settling", "nets"]

    saved = make_run(tmp_path, "saved", "toy/jnet")
    save_tree(saved / "models" / "net.safetensors", {}, extra={"name": "toy/net", "options": {}})
    assert [paper.id for paper in papers(saved)] == ["nets"]

    file = str(saved / "models" / "net.safetensors")
    by_file = make_run(tmp_path, "by-file", "toy/jnet", start=file)
    by_run = make_run(tmp_path, "by-run", "toy/jnet", start=str(by_file))
    assert [paper.id for paper in papers(by_run)] == ["nets"]


def test_runs_that_name_each_other_are_cited_once(toy, tmp_path) -> None:
    one = make_run(tmp_path, "one", "toy/study", start=str(tmp_path / "two"))
    make_run(tmp_path, "two", "toy/net", start=str(one))
    assert [paper.id for paper in papers(one)] == ["settling", "nets"]


def test_what_cannot_be_read_is_said(toy, tmp_path) -> None:
    with pytest.raises(RunStateError, match="is no run directory"):
        cite(tmp_path)
    broken = make_run(tmp_path, "broken", "toy/study")
    (broken / "models").mkdir()
    (broken / "models" / "net.safetensors").write_bytes(b"\xff" * 20)
    with pytest.raises(CheckpointError, match=r"net\.safetensors"):
        cite(broken)
    (broken / "run.json").write_text("{")
    with pytest.raises(RunStateError, match=r"run\.json cannot be read"):
        cite(broken)


def test_info_cite_and_doctor_are_public() -> None:
    assert (bv.info, bv.cite) == (info, cite)
    assert bv.doctor.__module__ == "bioviz_core.lab.doctor"
