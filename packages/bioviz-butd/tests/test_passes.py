"""The exactness that the package stands on: shared Counter-Hebb updates are autograd's."""

from __future__ import annotations

import bioviz_butd as butd
import pytest
import torch
import torch.nn.functional as F
from torch import nn


class LeNet(nn.Module):
    """Written with functional forms, as in the textbooks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 6, 5, padding=2), nn.Conv2d(6, 16, 5)
        self.fc1, self.fc2, self.fc3 = nn.Linear(400, 120), nn.Linear(120, 84), nn.Linear(84, 10)

    def forward(self, x):
        x = F.max_pool2d(torch.relu(self.conv1(x)), 2)
        x = F.max_pool2d(F.relu(self.conv2(x), inplace=True), 2)
        x = x.view(x.size(0), -1)
        return self.fc3(F.relu(self.fc2(F.relu(self.fc1(x)))))


class Mixture(nn.Module):
    """Groups, dilation, strides, odd padding, five norms, graded gates, dropout and a sum."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.GroupNorm(2, 8), nn.GELU())
        self.wide = nn.Conv2d(8, 16, 3, padding=2, dilation=2, groups=4)
        self.same = nn.Conv2d(16, 16, (3, 2), padding="same", padding_mode="reflect")
        self.norm = nn.BatchNorm2d(16, momentum=None)
        self.pool = nn.AvgPool2d(2, ceil_mode=True)
        self.drop = nn.Dropout(0.3)
        self.token = nn.LayerNorm(16)
        self.head = nn.Linear(16, 10)

    def forward(self, x):
        x = F.silu(self.wide(self.stem(x)))
        x = x + 0.5 * self.norm(self.same(x))
        x = F.max_pool2d(self.drop(x), 3, 2, 1)
        x = self.pool(x).flatten(2).transpose(1, 2)
        return self.head(F.leaky_relu(self.token(x), 0.2).mean(1))


def _timm(name):
    timm = pytest.importorskip("timm")
    return timm.create_model(name, num_classes=10)


def _torchvision(name):
    models = pytest.importorskip("torchvision.models")
    return getattr(models, name)(num_classes=10)


NETWORKS = {
    "mlp": (lambda: butd.fc_net(shape=(1, 7, 9), hidden=(30, 20)).module, (1, 7, 9)),
    "lenet": (LeNet, (1, 28, 28)),
    "mixture": (Mixture, (3, 29, 31)),
    "conv-batch": (lambda: butd.conv_net(shape=(1, 13, 11), norm="batch").module, (1, 13, 11)),
    "conv-group": (lambda: butd.conv_net(shape=(2, 9, 12), norm="group").module, (2, 9, 12)),
    "simple": (lambda: butd.simple_net(channels=8).module, (1, 28, 28)),
}
PUBLIC = {
    "timm-resnet18": (lambda: _timm("resnet18"), (3, 40, 48)),
    "torchvision-resnet18": (lambda: _torchvision("resnet18"), (3, 40, 48)),
    "resnet50": (lambda: _timm("resnet50"), (3, 40, 48)),
    "mobilenet-v2": (lambda: _torchvision("mobilenet_v2"), (3, 33, 40)),
    "convnext-atto": (lambda: _timm("convnext_atto"), (3, 64, 64)),
    "densenet": (lambda: _torchvision("densenet121"), (3, 40, 40)),
    "se-resnet18": (lambda: _timm("seresnet18"), (3, 40, 40)),
    "regnet": (lambda: _timm("regnety_002"), (3, 40, 40)),
    "shufflenet": (lambda: _torchvision("shufflenet_v2_x0_5"), (3, 40, 40)),
}


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("batch", [1, 2, 8])
@pytest.mark.parametrize("name", NETWORKS)
def test_updates_equal_autograd_bit_for_bit_in_float32(
    name, batch, training, deviations, gained
) -> None:
    make, shape = NETWORKS[name]
    module = gained(make()).train(training)
    found = deviations(module, torch.randn(batch, *shape))
    assert len(found) == len(list(module.parameters()))
    assert set(found.values()) == {0.0}
    assert all(p.grad.any() for p in module.parameters()), "equality of zeros says nothing"


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", NETWORKS)
def test_updates_equal_autograd_within_rounding_in_float64(
    name, training, deviations, gained
) -> None:
    make, shape = NETWORKS[name]
    module = gained(make()).double().train(training)
    found = deviations(module, torch.randn(3, *shape, dtype=torch.float64))
    assert max(found.values()) <= 1e-13


@pytest.mark.slow
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("name", PUBLIC)
def test_public_architectures_convert_and_equal_autograd(
    name, training, deviations, gained
) -> None:
    make, shape = PUBLIC[name]
    module = gained(make())
    module.eval()(torch.randn(2, *shape))
    module.train(training)
    found = deviations(module, torch.randn(3, *shape))
    assert len(found) == len(list(module.parameters()))
    assert set(found.values()) == {0.0}
    assert sum(bool(p.grad.any()) for p in module.parameters()) >= 0.98 * len(found)


def test_frozen_batch_statistics_are_not_the_gradient(deviations, gained) -> None:
    make, shape = NETWORKS["conv-batch"]
    found = deviations(gained(make()), torch.randn(8, *shape), batch_norm="frozen")
    assert max(found.values()) > 1e-2
    assert found["9.weight"] == 0.0, "nothing above the norms changes"


def test_the_lowest_layer_gets_no_signal_unless_asked() -> None:
    net = butd.fc_net(shape=(1, 4, 4), hidden=(5,))
    out, trace = net.bu(torch.randn(2, 1, 4, 4))
    down, updates = net.top_down(torch.ones_like(out), trace=trace)
    assert down is None
    assert len(updates) == 4
    stages = trace.graph.way_down((True,) * 4, False)
    assert [type(stage.op).__name__ for stage in stages] == ["Linear", "Gate", "Linear"]
    assert stages[-1].wanted == (False, True, True)
    down, _ = net.top_down(torch.ones_like(out), trace=trace, need_input=True)
    assert down.shape == (2, 1, 4, 4)


def test_frozen_layers_get_no_update_but_let_the_signal_pass() -> None:
    net = butd.fc_net(shape=(1, 4, 4), hidden=(6, 5))
    x = torch.randn(3, 1, 4, 4)
    out, trace = net.bu(x)
    _, everything = net.top_down(torch.ones_like(out), trace=trace)
    net.module[3].requires_grad_(False)
    out, trace = net.bu(x)
    _, rest = net.top_down(torch.ones_like(out), trace=trace)
    assert everything.keys() - rest.keys() == {"3.weight", "3.bias"}
    assert all(torch.equal(rest[name], everything[name]) for name in rest)
    net.module[1].requires_grad_(False)
    out, trace = net.bu(x)
    net.top_down(torch.ones_like(out), trace=trace)
    assert len(trace.graph.way_down((False, False, False, False, True, True), False)) == 1


def test_stored_activity_is_what_autograd_stores(gained) -> None:
    module = gained(_timm("resnet18"))
    x = torch.randn(2, 3, 40, 48)
    saved = {}

    def note(tensor):
        saved[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(note, lambda t: t):
        module(x)
    own = {}

    def walk(value):
        if isinstance(value, torch.Tensor):
            own[value.untyped_storage().data_ptr()] = value.untyped_storage().nbytes()
        elif isinstance(value, tuple | list):
            for part in value:
                walk(part)

    _, trace = butd.convert(module).bu(x)
    walk(trace.kept)
    assert sum(own.values()) <= 1.01 * sum(saved.values())


def test_the_whole_pass_compiles_without_a_break() -> None:
    from bioviz_butd import passes

    net = butd.conv_net(shape=(1, 8, 8))
    graph = net._graphs[True]

    def both(x, e):
        with torch.no_grad():
            out, trace = passes.bottom_up(graph, x)
            return out, passes.top_down(trace, e, feedback={}, trainable=(True,) * 8)[1]

    x, e = torch.randn(4, 1, 8, 8), torch.randn(4, 10)
    compiled = torch.compile(both, backend="eager", fullgraph=True)
    out, updates = compiled(x, e)
    plain_out, plain = both(x, e)
    assert torch.equal(out, plain_out)
    assert all(torch.equal(updates[name], plain[name]) for name in plain)


def test_check_finite_names_the_first_node() -> None:
    net = butd.fc_net(shape=(1, 4, 4), hidden=(5,))
    out, trace = net.bu(torch.randn(2, 1, 4, 4))
    bad = torch.full_like(out, float("nan"))
    net.top_down(bad, trace=trace)
    with pytest.raises(FloatingPointError, match="output of 3 "):
        net.top_down(bad, trace=trace, check_finite=True)
