from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bioviz_core.errors import CheckpointError, RunStateError, UnknownNameError
from bioviz_core.hooks import hookimpl
from bioviz_core.lab import rundir
from bioviz_core.lab.pretrained import load_model, save_model
from bioviz_core.lab.record import open_run, runs
from bioviz_core.lab.run import Run
from bioviz_core.refs import Recipe
from bioviz_core.registry import Registrar, Registry, isolated_registry
from matplotlib.figure import Figure


class Perceptron:
    framework = "numpy"

    def __init__(self, sizes: tuple[int, int] = (2, 3), bias: bool = True) -> None:
        self.sizes, self.weights = sizes, np.zeros(sizes)
        self.bias = np.zeros(1) if bias else None

    def state_tree(self) -> Any:
        return {"weights": self.weights.copy(), "bias": self.bias}

    def with_state(self, state: Any) -> Perceptron:
        self.weights, self.bias = state["weights"], state["bias"]
        return self


class Plugin:
    @hookimpl
    def bioviz_register(self, registry: Registrar) -> None:
        registry.model("perceptron", "toy_models:Perceptron", summary="One layer")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    # pytest gives test files names that no reference may have.
    monkeypatch.setitem(sys.modules, "toy_models", sys.modules[__name__])
    with isolated_registry() as found:
        found.register(Plugin(), name="toy")
        yield found


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    path = rundir.create(tmp_path, "toy/thing", {}, config={"seed": 3, "rate": 0.5})
    with Run(path, seed=3) as run:
        yield run


def test_metrics_and_tables_are_frames_where_pandas_is_installed(run: Run) -> None:
    pandas = pytest.importorskip("pandas")
    run.log(1, loss=0.5)
    run.table("t", {"n": [1, 2]})
    record = open_run(run.path)
    assert isinstance(record.metrics, pandas.DataFrame)
    assert record.metrics["loss"].tolist() == [0.5]
    assert record.table("t")["n"].tolist() == [1, 2]


def test_everything_written_is_read_back(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bioviz_core.lab.record.find_spec", lambda name: None)  # without pandas
    run.log(1, loss=0.5)
    run.table("t", {"rule": ["a", "1"], "loss": [0.1, float("nan")], "n": [1, 2]})
    run.array("a", np.arange(3))
    run.figure("f", Figure(), "Finding.")
    record = open_run(run.path)
    assert repr(record) == f"RunRecord({str(run.path)!r}, created)"
    assert record.id == run.path.name
    assert record.config["rate"] == 0.5
    assert record.metrics[0]["loss"] == 0.5
    table = record.table("t")
    assert table["rule"] == ["a", "1"]
    assert table["n"] == [1, 2]
    assert table["loss"][0] == 0.1
    np.testing.assert_array_equal(record.array("a"), np.arange(3))
    assert record.figure("f").read_bytes()[:4] == b"\x89PNG"
    assert record.names("figures") == ["f"]
    assert [found.id for found in runs(run.path.parent)] == [record.id]


def test_what_is_not_there_is_named(run: Run, tmp_path: Path) -> None:
    record = open_run(run.path)
    with pytest.raises(UnknownNameError, match="no array is called 'x'"):
        record.array("x")
    with pytest.raises(RunStateError, match="has no summary: bioviz resume"):
        record.summary  # noqa: B018
    with pytest.raises(RunStateError, match="has 0 models: it saved none"):
        record.model()
    with pytest.raises(ValueError, match="cannot name a file"):
        record.table("../x")
    with pytest.raises(RunStateError, match="is no run directory"):
        open_run(tmp_path)


def test_a_saved_model_is_built_again(registry: Registry, run: Run) -> None:
    model = registry.create("toy/perceptron", sizes=(4, 2), bias=False)
    assert model.recipe == Recipe("toy/perceptron", {"sizes": (4, 2), "bias": False})
    model.weights += 1.5
    run.model("trained", model)
    found = open_run(run.path).model()
    assert found.sizes == (4, 2)
    assert found.bias is None
    np.testing.assert_array_equal(found.weights, 1.5)


def test_a_recipe_may_be_given(registry: Registry, tmp_path: Path) -> None:
    recipe = Recipe("toy/perceptron", {})
    path = save_model(Perceptron(), tmp_path / "m.safetensors", recipe=recipe)
    assert load_model(path).recipe == recipe


def test_a_model_of_unknown_making_is_refused(registry: Registry, tmp_path: Path) -> None:
    file = tmp_path / "m.safetensors"
    with pytest.raises(CheckpointError, match="does not say how it was made"):
        save_model(Perceptron(), file)
    with pytest.raises(CheckpointError, match="not arrays"):
        save_model(Perceptron(), file, recipe=Recipe("toy/perceptron", {"w": np.ones(1)}))
    with pytest.raises(CheckpointError, match=r"options\.f: a function cannot be stored"):
        save_model(Perceptron(), file, recipe=Recipe("toy/perceptron", {"f": runs}))
    with pytest.raises(UnknownNameError):
        save_model(Perceptron(), file, recipe=Recipe("toy/other", {}))
    assert not file.exists()


def test_a_checkpoint_is_no_model(run: Run) -> None:
    run.checkpoint(1, {"w": 1})
    with pytest.raises(CheckpointError, match="is a checkpoint, not a model"):
        load_model(next(run.path.rglob("step-*")))
