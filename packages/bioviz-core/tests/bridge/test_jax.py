from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bioviz_core.bridge.jax import (
    Backprop,
    Host,
    as_model,
    import_leaf,
    is_quick,
    quick_compilation,
)
from bioviz_core.errors import CheckpointError, ConfigError, IncompatibleError
from bioviz_core.interfaces import HasObjective, LearningRule, Model, Objective, Step
from bioviz_core.lab import rundir
from bioviz_core.lab.checkpoint import load_tree, save_tree
from bioviz_core.lab.fit import fit
from bioviz_core.lab.leaves import export
from bioviz_core.lab.run import Run
from bioviz_core.stimuli.sources import ArraySource

SQUARED = Objective("squared", lambda out, b: jnp.mean((out - b["targets"]) ** 2), ("targets",))


def line(params: dict[str, Any], x: jax.Array) -> jax.Array:
    return x @ params["w"] + params["b"]


def model(dtype: Any = np.float32) -> Any:
    return as_model(line, {"w": np.zeros((3, 1), dtype), "b": np.zeros(1, dtype)}, None, SQUARED)


def source() -> ArraySource:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 3))
    return ArraySource(inputs=x, targets=x @ np.array([[1.0], [2], [3]]) + 4)


def test_a_pure_pair_is_a_model_and_a_pytree() -> None:
    one = model()
    assert isinstance(one, Model)
    assert isinstance(one, HasObjective)
    assert len(jax.tree.leaves(one)) == 2
    assert list(one.activations(jnp.ones((2, 3)))) == ["output"]
    named = as_model(line, one.params, lambda p, x: {"in": x, "out": line(p, x)})
    assert list(named.activations(jnp.ones((2, 3)))) == ["in", "out"]


def test_a_state_of_another_shape_or_dtype_is_refused() -> None:
    one = model()
    moved = one.with_state({"w": np.ones((3, 1), np.float32), "b": np.ones(1, np.float32)})
    assert float(moved(jnp.ones((1, 3)))[0, 0]) == 4
    assert float(one(jnp.ones((1, 3)))[0, 0]) == 0
    with pytest.raises(CheckpointError, match=r"\['w'\]"):
        one.with_state({"w": np.ones((2, 1), np.float32), "b": np.ones(1, np.float32)})
    with pytest.raises(CheckpointError, match="float64"):
        one.with_state({"w": np.ones((3, 1)), "b": np.ones(1, np.float32)})


def test_backprop_finds_the_line_through_the_one_loop() -> None:
    rule = Backprop(optax.adam(0.1))
    assert isinstance(rule, LearningRule)
    fitted = fit(model(), rule, source(), steps=300, batch_size=32, log_every=100)
    np.testing.assert_allclose(fitted.model.params["w"][:, 0], [1, 2, 3], atol=1e-2)


def test_a_model_with_nothing_to_train_is_refused() -> None:
    frozen = as_model(line, {"w": np.zeros((3, 1), int), "b": np.zeros(1, int)}, None, SQUARED)
    with pytest.raises(IncompatibleError, match="no floating-point parameters"):
        fit(frozen, Backprop(optax.sgd(0.1)), source(), steps=1, batch_size=4)


def test_the_host_traces_a_step_once_for_all_seeds() -> None:
    traces = []

    def step(model: Any, batch: Any, state: Any, /, *, seed: Any) -> Step[Any, Any]:
        traces.append(1)
        noise = jax.random.normal(jax.random.key(seed), ())
        return Step(model, state + noise, {"noise": noise})

    host = Host()
    compiled = host.compile(step)
    batch = host.place({"inputs": np.zeros((2, 3)), "labels": np.arange(2)})
    found = []
    for seed in (1, 2, 2**62 + 1, 1):
        with host.step(seed):
            found.append(float(compiled(model(), batch, jnp.zeros(()), seed=seed).metrics["noise"]))
    assert len(traces) == 1
    assert found[0] == found[3] != found[1]


def test_a_fit_compiles_its_step_once(monkeypatch: pytest.MonkeyPatch) -> None:
    made, jit = [], jax.jit
    monkeypatch.setattr(jax, "jit", lambda *a, **k: made.append(jit(*a, **k)) or made[-1])
    fit(model(), Backprop(optax.adam(0.1)), source(), steps=3, batch_size=8)
    assert [compiled._cache_size() for compiled in made] == [1]


def test_precision_holds_in_the_step_and_nowhere_else() -> None:
    host = Host(precision="float64")
    placed = host.place({"inputs": np.zeros(2, np.float32), "labels": np.arange(2)})
    assert placed["inputs"].dtype == jnp.float64
    assert placed["labels"].dtype == jnp.int64
    with host.step(0):
        assert jnp.ones(1).dtype == jnp.float64
    assert jnp.ones(1).dtype == jnp.float32
    half = Host(precision="bfloat16").place({"inputs": np.zeros(2)})
    assert half["inputs"].dtype == jnp.bfloat16


@pytest.mark.parametrize(
    "options",
    [
        {"device": "cpu:9"},
        {"device": "tpu"},
        {"device": "x"},
        {"precision": "int8"},
        {"threads": 0},
    ],
)
def test_an_absent_device_or_unknown_precision_is_an_error(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Host(**options)


def test_leaves_of_every_kind_survive_a_checkpoint(tmp_path: Path) -> None:
    with jax.enable_x64(True):
        tree = {
            "bfloat16": jnp.arange(3, dtype=jnp.bfloat16),
            "float64": jnp.full(2, 1 / 3),
            "key": jax.random.key(7),
            "int": jnp.arange(2),
        }
    save_tree(tmp_path / "leaves.safetensors", tree)
    back = load_tree(tmp_path / "leaves.safetensors", like=tree)
    for name, leaf in tree.items():
        assert back[name].dtype == leaf.dtype
    assert np.asarray(back["float64"])[0] == 1 / 3
    assert jax.random.key_data(back["key"]).tolist() == jax.random.key_data(tree["key"]).tolist()
    np.testing.assert_array_equal(back["bfloat16"].astype(float), [0, 1, 2])


def test_bfloat16_is_exported_as_its_bits() -> None:
    array, name = export(jnp.ones(2, jnp.bfloat16))
    assert (array.dtype, name) == (np.uint16, "bfloat16")
    assert import_leaf(array, name).dtype == jnp.bfloat16


SEVERAL = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_jax import *
from bioviz_core.errors import StoppedError
from bioviz_core.lab import rundir
from bioviz_core.lab.fit import collect
from bioviz_core.lab.run import Run

assert len(jax.devices()) == 2
parts = Host().place({"inputs": np.ones((4, 3)), "task": np.ones(3)})
assert [s.data.shape for s in parts["inputs"].addressable_shards] == [(2, 3)] * 2
assert parts["task"].is_fully_replicated, "three samples do not divide by two"
assert len(Host(device="cpu:1").place({"inputs": np.ones(4)})["inputs"].devices()) == 1

def train(path, stop=0):
    def after(progress):
        run.should_stop = progress.step == stop
    for _ in range(2 if stop else 1):
        with Run(path, seed=0) as run:
            try:
                return fit(model(), Backprop(optax.adam(0.1)), source(), steps=20, batch_size=8,
                           run=run, after=after)
            except StoppedError:
                pass

paths = [rundir.create(Path(sys.argv[2]), name, {}, config={}) for name in ("alone", "resumed")]
fitted = [train(paths[0]), train(paths[1], stop=7)]
ends = [sorted(path.glob("checkpoints/*/*"))[-1].read_bytes() for path in paths]
assert ends[0] == ends[1]
assert collect(fitted[0].model, source())["output"].shape == (32, 1)
print(*np.asarray(fitted[0].model.params["w"])[:, 0].tolist())
"""


@pytest.mark.slow
def test_two_devices_share_a_batch_and_learn_what_one_learns(tmp_path: Path) -> None:
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count=2"
    words = [sys.executable, "-c", SEVERAL, str(Path(__file__).parent), str(tmp_path)]
    said = subprocess.run(words, env={**os.environ, "XLA_FLAGS": flags}, capture_output=True,
                          text=True)  # fmt: skip
    assert said.returncode == 0, said.stderr
    with Run(rundir.create(tmp_path, "one", {}, config={}), seed=0) as run:
        one = fit(model(), Backprop(optax.adam(0.1)), source(), steps=20, batch_size=8, run=run)
    learned = [float(number) for number in said.stdout.split()]
    np.testing.assert_allclose(learned, one.model.params["w"][:, 0], rtol=1e-5)


def test_quick_compilation_ends_with_its_block() -> None:
    before = gc.get_threshold()
    with quick_compilation():
        assert is_quick()
        assert gc.get_threshold() > before
    assert not is_quick()
    assert gc.get_threshold() == before
