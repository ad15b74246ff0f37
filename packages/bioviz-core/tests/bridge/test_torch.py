from __future__ import annotations

import os
import runpy
import subprocess
import sys
from functools import partial
from pathlib import Path
from socket import socket

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from bioviz_core.bridge.torch import (
    Backprop,
    Host,
    Layered,
    TorchModel,
    as_model,
    export_leaf,
    import_leaf,
    open_checkpoint,
)
from bioviz_core.errors import (
    CheckpointError,
    ConfigError,
    IncompatibleError,
    MissingDependencyError,
)
from bioviz_core.interfaces import LearningRule, Model, Objective, Synaptic, refusals
from torch import nn

CROSS_ENTROPY = Objective(
    "cross-entropy", lambda outputs, batch: F.cross_entropy(outputs, batch["labels"]), ("labels",)
)


class Net(TorchModel):
    objective = CROSS_ENTROPY

    def __init__(self) -> None:
        super().__init__()
        self.relu = nn.ReLU(inplace=True)
        self.body = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
        self.middle = nn.Linear(5, 4)
        self.dropout = nn.Dropout(0.5)
        self.readout = nn.Linear(4, 3)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        hidden = self.relu(self.body(inputs.flatten(1)))
        return self.readout(self.dropout(self.relu(self.middle(hidden))))


@pytest.fixture
def net() -> Net:
    torch.manual_seed(0)
    return Net()


def batch(n: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {"inputs": rng.random((n, 6), dtype=np.float32), "labels": np.arange(n) % 3}


def test_activations_are_named_in_order_of_computation_and_reuse_is_numbered(net: Net) -> None:
    names = list(net.activations(torch.rand(2, 6)))
    assert names == ["body.0", "body.1", "relu", "middle", "relu#2", "dropout", "readout"]


def test_activations_are_copies_that_an_inplace_layer_does_not_rewrite(net: Net) -> None:
    found = net.activations(torch.rand(64, 6))
    assert (found["body.1"] < 0).any()
    assert torch.equal(found["relu"], found["body.1"].clamp(min=0))


def test_activations_use_evaluation_mode_and_give_each_mode_back(net: Net) -> None:
    net.body[1].eval()
    before = {name: buffer.clone() for name, buffer in net.named_buffers()}
    found = net.activations(torch.rand(16, 6))
    assert torch.equal(found["dropout"], found["relu#2"])
    assert not any(value.requires_grad for value in found.values())
    assert net.training
    assert net.dropout.training
    assert not net.body[1].training
    assert all(torch.equal(before[name], buffer) for name, buffer in net.named_buffers())
    assert not any(module._forward_hooks for module in net.modules())


def test_modes_and_hooks_are_given_back_when_the_model_fails(net: Net) -> None:
    with pytest.raises(RuntimeError):
        net.activations(torch.rand(2, 7))
    assert net.training
    assert not any(module._forward_hooks for module in net.modules())


def test_a_tuple_output_is_recorded_by_its_first_tensor() -> None:
    attention = as_model(nn.Sequential(nn.GRU(4, 3, batch_first=True)))
    assert attention.activations(torch.rand(2, 5, 4))["0"].shape == (2, 5, 3)


def test_state_round_trips_in_place(net: Net) -> None:
    parameters = list(net.parameters())
    state = net.state_tree()
    with torch.no_grad():
        for parameter in parameters:
            parameter.add_(1)
    assert net.with_state(state) is net
    assert all(a is b for a, b in zip(parameters, net.parameters(), strict=True))
    assert all(torch.equal(state[name], value) for name, value in net.state_dict().items())


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda s: s.pop("middle.bias"), "do not share the entries middle.bias"),
        (lambda s: s.update({"middle.bias": torch.zeros(5)}), r"middle.bias: needs \(4,\)"),
        (lambda s: s.update({"middle.bias": torch.zeros(4).double()}), "float64"),
    ],
)
def test_a_state_that_does_not_fit_is_refused(net: Net, spoil, message: str) -> None:
    state = net.state_tree()
    spoil(state)
    with pytest.raises(CheckpointError, match=message):
        net.with_state(state)


def test_adapted_sequential_is_model_layered_and_synaptic() -> None:
    model = as_model(nn.Sequential(nn.Flatten(), nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))
    assert isinstance(model, Model)
    assert isinstance(model, Layered)
    assert isinstance(model, Synaptic)
    assert not isinstance(as_model(nn.Linear(2, 2)), Layered)
    inputs = torch.rand(3, 2, 3)
    assert list(model.activations(inputs)) == ["0", "1", "2", "3"]
    activity = inputs
    for _, stage in model.stages():
        activity = stage(activity)
    assert torch.equal(activity, model(inputs))


def test_the_repr_of_a_large_model_shows_its_parts_and_their_sizes() -> None:
    small, large = (as_model(nn.Sequential(*(nn.Linear(2, 3) for _ in range(n)))) for n in (2, 99))
    assert "(1): Linear(in_features=2" in repr(small)
    assert repr(large) == "SequentialModel(\n  (module): 891 parameters\n)"


def test_a_layer_used_twice_is_two_stages() -> None:
    relu = nn.ReLU()
    model = as_model(nn.Sequential(nn.Linear(3, 3), relu, nn.Linear(3, 3), relu))
    assert [name for name, _ in model.stages()] == ["0", "1", "2", "3"]


def test_synapses_have_the_activity_at_both_ends_and_nudges_add() -> None:
    model = as_model(nn.Sequential(nn.Linear(6, 4), nn.ReLU(), nn.Linear(4, 2)))
    inputs = torch.randn(5, 6)
    found = model.synapses(inputs)
    assert torch.equal(found["0"].pre, inputs)
    assert torch.equal(found["0"].post, found["2"].pre)
    assert (found["0"].post >= 0).all()
    assert torch.equal(found["2"].post, model(inputs).detach())
    weight = model.module[0].weight.detach().clone()
    model.nudge({"0": torch.ones(4, 6)})
    assert torch.equal(model.module[0].weight, weight + 1)
    with pytest.raises(ValueError, match="no weight is called"):
        model.nudge({"1": torch.ones(4, 6)})


def test_backprop_takes_the_step_that_autograd_takes_by_hand(net: Net) -> None:
    rule = Backprop(partial(torch.optim.SGD, lr=0.1))
    assert isinstance(rule, LearningRule)
    host = Host(device="cpu")
    placed = host.place(batch())
    twin = Net()
    twin.load_state_dict(net.state_dict())
    with host.step(7):
        model, state, metrics = rule.step(net, placed, rule.init(net, placed, seed=0), seed=7)
    torch.manual_seed(7)
    loss = F.cross_entropy(twin(placed["inputs"]), placed["labels"])
    loss.backward()
    assert torch.equal(metrics["loss"], loss.detach())
    assert model is net
    assert isinstance(state, torch.optim.SGD)
    for mine, other in zip(net.parameters(), twin.parameters(), strict=True):
        assert torch.equal(mine, other.detach().add(other.grad, alpha=-0.1))


def test_backprop_refuses_what_has_nothing_to_train_and_what_has_no_objective(net: Net) -> None:
    rule = Backprop(torch.optim.Adam)
    with pytest.raises(IncompatibleError, match="no trainable parameters"):
        rule.init(net.requires_grad_(False), {}, seed=0)
    assert [r.kind for r in refusals(rule, as_model(nn.Linear(2, 2)))] == ["capability"]
    assert not refusals(rule, as_model(nn.Linear(2, 2), CROSS_ENTROPY))


def test_the_host_places_floats_in_its_dtype_and_never_shares_memory() -> None:
    source = batch() | {"mask": np.array([True, False]), "noise": np.zeros(2, np.float64)}
    for precision, dtype in [("float32", torch.float32), ("float64", torch.float64)]:
        placed = Host(device="cpu", precision=precision).place(source)
        assert placed["inputs"].dtype == placed["noise"].dtype == dtype
        assert placed["labels"].dtype == torch.int64
        assert placed["mask"].dtype == torch.bool
        placed["inputs"].zero_()
        assert source["inputs"].any()


def test_the_step_context_seeds_dropout_and_casts_under_bfloat16(net: Net) -> None:
    inputs = torch.rand(4, 6)
    host = Host(device="cpu")

    def answer(seed: int) -> torch.Tensor:
        with host.step(seed):
            return net(inputs)

    assert torch.equal(answer(3), answer(3))
    assert not torch.equal(answer(3), answer(4))
    with Host(device="cpu", precision="bfloat16").step(0):
        assert net(inputs).dtype == torch.bfloat16


def test_adopting_in_float64_keeps_the_parameters_an_optimizer_holds(net: Net) -> None:
    optimizer = torch.optim.Adam(net.parameters())
    Host(device="cpu", precision="float64").adopt(net, {"optimizer": optimizer})
    assert optimizer.param_groups[0]["params"][0].dtype == torch.float64
    assert optimizer.param_groups[0]["params"][0] is next(net.parameters())


def test_a_named_device_is_never_replaced() -> None:
    for device in ("cuda:99", "tpu", "cpu:1"):
        with pytest.raises(ConfigError, match="device"):
            Host(device=device)
    with pytest.raises(ConfigError, match="precision"):
        Host(precision="float8")
    assert Host(device="auto").device.type in ("cpu", "cuda")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.int64, torch.bool])
def test_a_leaf_survives_the_trip_to_numpy(dtype: torch.dtype) -> None:
    leaf = (torch.randn(3, 4) * 3).to(dtype)
    array, name = export_leaf(leaf)
    assert array.dtype == (np.uint16 if dtype == torch.bfloat16 else np.dtype(name))
    assert torch.equal(import_leaf(array, name, leaf), leaf)
    with pytest.raises(CheckpointError, match="needs"):
        import_leaf(array, name, torch.zeros(4, 3))


@pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"state_dict": s, "epoch": 3}])
def test_open_checkpoint_reads_tensors_from_a_users_file(
    tmp_path: Path, wrap, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "weights.pth"
    torch.save(wrap({"layer.weight": torch.arange(3.0)}), path)  # noqa: TID251  # a user's file
    assert torch.equal(open_checkpoint(path)["layer.weight"], torch.arange(3.0))
    monkeypatch.setattr("bioviz_core.bridge.torch_files.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match="pip install timm"):
        open_checkpoint(path)


class Executes:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("executed",)


def test_open_checkpoint_executes_nothing(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Executes()}, "evil.pth")  # noqa: TID251  # an attacker's file
    Path("empty.safetensors").touch()
    for name in ("evil.pth", "empty.safetensors", "absent.pth"):
        with pytest.raises(CheckpointError, match=name):
            open_checkpoint(name)
    assert not Path("executed").exists()


WORKER = """
import sys
import torch
import numpy as np
from functools import partial
from torch import nn
from bioviz_core.bridge.torch import Backprop, Host, as_model
from bioviz_core.interfaces import Objective

host = Host(device="cpu", threads=1)
torch.manual_seed(host.rank)  # replicas start apart: adopt must join them
objective = Objective("mse", lambda y, b: ((y - b["targets"]) ** 2).mean(), ("targets",))
model = as_model(nn.Linear(3, 2), objective)
rule = Backprop(partial(torch.optim.SGD, lr=0.1))
rng = np.random.default_rng(0)
whole = {"inputs": rng.random((8, 3)), "targets": rng.random((8, 2))}
part = host.place({k: v[host.rank :: host.world] for k, v in whole.items()})
state = rule.init(model, part, seed=0)
host.adopt(model, state)
for step in range(3):
    with host.step(step):
        model, state, _ = rule.step(model, part, state, seed=step)
np.save(f"{sys.argv[1]}/{host.rank}.npy", model.module.weight.detach().numpy())
if host.world > 1:
    torch.distributed.destroy_process_group()
"""


@pytest.mark.slow
def test_two_processes_learn_what_one_learns(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])
    script = tmp_path / "worker.py"
    script.write_text(WORKER)
    shared = {**os.environ, "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    for name in ("two", "one"):
        (tmp_path / name).mkdir()
    workers = [
        subprocess.Popen(
            [sys.executable, str(script), str(tmp_path / "two")],
            env={**shared, "RANK": rank, "LOCAL_RANK": rank},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in "01"
    ]
    monkeypatch.setattr(sys, "argv", [str(script), str(tmp_path / "one")])
    runpy.run_path(str(script))
    for worker in workers:
        _, errors = worker.communicate(timeout=120)
        assert worker.returncode == 0, errors
    alone, first, second = (
        np.load(tmp_path / name) for name in ("one/0.npy", "two/0.npy", "two/1.npy")
    )
    assert np.array_equal(first, second)
    np.testing.assert_allclose(first, alone, atol=2e-7)


@pytest.mark.gpu
def test_a_gpu_step_is_repeatable(net: Net) -> None:
    if not torch.cuda.is_available():
        pytest.skip("no GPU here")
    rule, host = Backprop(partial(torch.optim.SGD, lr=0.1)), Host(device="cuda")
    ends = []
    for _ in range(2):
        model = Net()
        model.load_state_dict(net.state_dict())
        host.adopt(model, None)
        placed = host.place(batch())
        state = rule.init(model, placed, seed=0)
        for step in range(3):
            with host.step(step):
                rule.step(model, placed, state, seed=step)
        ends.append(model.readout.weight.detach().cpu())
    assert torch.equal(*ends)
