"""What converts, what is refused, and what the conversion leaves alone."""

from __future__ import annotations

import copy
import warnings

import bioviz_butd as butd
import pytest
import torch
import torch.nn.functional as F
from bioviz_butd.ops.op import Op
from torch import nn


class Net(nn.Module):
    """A forward given as a function of the module and its input."""

    def __init__(self, run, **parts) -> None:
        super().__init__()
        self.run = run
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x):
        return self.run(self, x)


def test_every_offending_operation_is_listed_with_its_line() -> None:
    def run(m, x):
        x = torch.fft.rfft(m.a(x)).abs()
        x, _ = m.lstm(x)
        return torch.cumsum(x, 1)

    with pytest.raises(butd.UnsupportedOpError) as caught:
        butd.convert(Net(run, a=nn.Linear(4, 4), lstm=nn.LSTM(3, 4)))
    message = str(caught.value)
    assert [p.split(":")[0] for p in caught.value.problems] == [
        "fft_rfft",
        "abs_1",
        "lstm",
        "cumsum",
    ]
    assert "test_conversion.py" in message
    assert "register_op_rule" in message
    assert "LSTM has no rule" in message


def test_data_dependent_branch_is_refused_with_its_line() -> None:
    def run(m, x):
        return m.a(x) if x.sum() > 0 else x

    with pytest.raises(butd.UnsupportedOpError, match=r"test_conversion\.py.*in run"):
        butd.convert(Net(run, a=nn.Linear(4, 4)))


def test_hooks_parametrizations_and_wrappers_are_refused() -> None:
    hooked = nn.Linear(3, 3)
    hooked.register_forward_hook(lambda *a: None)
    with pytest.raises(butd.UnsupportedOpError, match="hooks would not run"):
        butd.convert(hooked)
    normed = nn.utils.parametrizations.weight_norm(nn.Linear(3, 3))
    with pytest.raises(butd.UnsupportedOpError, match="parametri"):
        butd.convert(normed)
    with pytest.raises(butd.UnsupportedOpError, match="DataParallel"):
        butd.convert(nn.DataParallel(nn.Linear(3, 3)))
    with pytest.raises(butd.UnsupportedOpError, match="complex"):
        butd.convert(nn.Linear(3, 3, dtype=torch.complex64))
    with pytest.raises(butd.UnsupportedOpError, match="lazy"):
        butd.convert(nn.LazyLinear(3))
    with pytest.raises(butd.UnsupportedOpError, match="one tensor"):
        butd.convert(Net(lambda m, x: (x, x)))


def test_module_stays_what_it_is() -> None:
    module = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.Dropout(), nn.Flatten())
    module[1].eval()
    keys, state = list(module.state_dict()), copy.deepcopy(module.state_dict())
    net = butd.convert(module, td_weights="separate")
    assert net.module is module
    assert list(module.state_dict()) == keys
    assert all(torch.equal(state[k], v) for k, v in net.module.state_dict().items())
    assert [m.training for m in module] == [True, False, True, True]
    net.module.load_state_dict({k: v + 1 for k, v in state.items()})
    assert torch.equal(net.module[0].weight, state["0.weight"] + 1)
    assert list(net.td.state_dict()) == ["0.weight"]


def test_in_place_steps_neither_corrupt_activities_nor_lose_their_effect(deviations) -> None:
    def run(m, x):
        y = m.a(x)
        same = y
        y += x
        y.mul_(2)
        F.relu(y, True)
        return m.b(same) + m.c(y).sigmoid_()

    parts = {name: nn.Linear(6, 6) for name in "abc"}
    assert set(deviations(Net(run, **parts), torch.randn(3, 6)).values()) == {0.0}


def test_in_place_change_of_a_view_used_later_is_refused() -> None:
    def run(m, x):
        y = m.a(x)
        part = y[:, :3]
        part.relu_()
        return m.a(y)

    with pytest.raises(butd.UnsupportedOpError, match="view"):
        butd.convert(Net(run, a=nn.Linear(6, 6)))


def test_functional_forms_shapes_and_several_values(deviations, gained) -> None:
    def run(m, x):
        b, c = x.shape[0], x.shape[1]
        x = F.conv2d(x, m.conv.weight, m.conv.bias, padding="same")
        x = F.batch_norm(x, m.bn.running_mean, m.bn.running_var, m.bn.weight, m.bn.bias, m.training)
        first, second = x.chunk(2, dim=1)
        x = torch.cat([first * second, first - 2 * second, -first / 3], 1)
        x = F.dropout(x, 0.2, training=m.training)
        u, v = torch.unbind(x.reshape(b, 2, 3 * c // 4, -1).permute(0, 2, 1, 3), 2)
        x = torch.stack((u, v), 1)[:, :, 1:].mean((2, 3))
        return F.linear(F.layer_norm(x, (2,)), m.head.weight)

    def net():
        parts = {"conv": nn.Conv2d(4, 4, (1, 3)), "bn": nn.BatchNorm2d(4)}
        return gained(Net(run, **parts, head=nn.Linear(2, 3, bias=False)))

    for training in (True, False):
        module = net().train(training)
        found = deviations(module, torch.randn(3, 4, 5, 5))
        assert set(found.values()) == {0.0}, found


def test_tied_weights_and_reused_modules_receive_the_sum(deviations) -> None:
    def run(m, x):
        return m.c(m.act(m.b(m.act(m.a(m.act(m.a(x)))))))

    module = Net(run, a=nn.Linear(5, 5), b=nn.Linear(5, 5), c=nn.Linear(5, 5), act=nn.ReLU())
    module.c.weight = module.b.weight
    assert set(deviations(module, torch.randn(4, 5)).values()) == {0.0}
    report = butd.convert(module).locality_report()
    assert [row.name for row in report] == ["a", "act", "a#2", "act#2", "b", "act#3", "c"]
    assert list(butd.convert(module, td_weights="separate").td.state_dict()) == [
        "a.weight", "b.weight",
    ]  # fmt: skip


def test_optional_arguments_of_forward_keep_their_defaults() -> None:
    class Optional(nn.Linear):
        def forward(self, x, scale=None, twice=False):
            x = F.linear(x, self.weight, self.bias)
            return x if scale is None and not twice else x * 2

    module = Optional(3, 3)
    x = torch.randn(2, 3)
    assert torch.equal(butd.convert(module)(x), module(x))


def test_subclass_that_computes_something_else_is_read_not_assumed(deviations) -> None:
    class Standardized(nn.Conv2d):
        def forward(self, x):
            w = self.weight - self.weight.mean((1, 2, 3), keepdim=True)
            return F.conv2d(x, w, self.bias, self.stride, self.padding)

    module = nn.Sequential(Standardized(2, 3, 3), nn.Flatten())
    assert set(deviations(module, torch.randn(2, 2, 5, 5)).values()) == {0.0}
    with pytest.raises(butd.UnsupportedOpError, match="computed"):
        butd.convert(module, td_weights="separate")


def test_a_buffer_that_the_network_counts_in_moves_once_per_pass(deviations) -> None:
    class Counting(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("passes", torch.zeros((), dtype=torch.long))
            self.layer = nn.Linear(3, 3)

        def forward(self, x):
            if self.training:
                self.passes.add_(1)
            return self.layer(x)

    module = Counting()
    deviations(module, torch.randn(2, 3))
    assert module.passes == 1
    module.eval()
    butd.convert(module)(torch.randn(2, 3))
    assert module.passes == 1


def test_local_jacobian_is_exact_marked_and_warned_of(deviations) -> None:
    def run(m, x):
        return torch.cumsum(m.bi(m.a(x), m.a(x)), 1)

    module = Net(run, a=nn.Linear(4, 4), bi=nn.Bilinear(4, 4, 3))
    with pytest.warns(UserWarning, match="bi, cumsum of Net"):
        found = deviations(module, torch.randn(5, 4), unsupported="local_vjp")
    assert max(found.values()) <= 1e-6
    assert found.keys() == dict(module.named_parameters()).keys()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        net = butd.convert(module, unsupported="local_vjp")
    assert {r.name: r.locality for r in net.locality_report()} == {
        "a": "synaptic", "a#2": "synaptic", "bi": "jacobian", "cumsum": "jacobian",
    }  # fmt: skip


def test_an_operation_can_be_given_a_rule(deviations, monkeypatch) -> None:
    from bioviz_butd import ops

    class Cube(nn.Module):
        def forward(self, x):
            return torch.linalg.matrix_power(torch.diag_embed(x), 3).sum(-1)

    class CubeOp(Op):
        def bottom_up(self, b):
            return torch.linalg.matrix_power(torch.diag_embed(b), 3).sum(-1), b

        def top_down(self, kept, signal, wanted):
            return (signal * 3 * kept**2,)

    module = nn.Sequential(nn.Linear(3, 3), Cube())
    with pytest.raises(butd.UnsupportedOpError, match="matrix_power"):
        butd.convert(module)
    monkeypatch.setattr(ops, "_registered", {})
    butd.register_op_rule(Cube, lambda build, module, x: build.add(CubeOp(), x))
    assert max(deviations(module, torch.randn(2, 3)).values()) <= 1e-6


def test_locality_report_names_what_is_not_at_the_synapse() -> None:
    layers = (
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2),
    )  # fmt: skip
    report = butd.convert(nn.Sequential(*layers)).locality_report()
    assert [r.locality for r in report] == [
        "synaptic", "population", "synaptic", "lateral", "synaptic", "synaptic", "synaptic",
    ]  # fmt: skip
    frozen = butd.convert(nn.Sequential(*layers), batch_norm="frozen").locality_report()
    assert frozen[1].locality == "synaptic"


@pytest.mark.parametrize("init", ["independent", "copy", "noisy_copy", "reference"])
def test_top_down_weights_start_as_asked(init) -> None:
    module = nn.Sequential(nn.Linear(784, 500), nn.Unflatten(1, (5, 10, 10)), nn.Conv2d(5, 64, 3))
    net = butd.convert(module, td_weights="separate", td_init=init, seed=3)
    again = butd.convert(module, td_weights="separate", td_init=init, seed=3)
    for (name, (w, b)), (_, other) in zip(
        net.weight_pairs().items(), again.weight_pairs().values(), strict=True
    ):
        assert torch.equal(b, other)
        assert b.shape == w.shape
        angle = butd.alignment_report(net)[["0.weight", "2.weight"].index(name)].angle
        if init == "copy":
            assert torch.equal(w, b)
        elif init == "noisy_copy":
            assert 2.5 < angle < 3.2  # arctan 0.05 = 2.9 degrees
        else:
            assert 85 < angle < 95
            if init == "independent":
                assert torch.isclose(b.std(), w.std(), rtol=0.05)
    if init == "reference":
        w, b = net.weight_pairs()["0.weight"]
        assert 3.0 < b.std() / w.std() < 3.2
    with pytest.raises(ValueError, match="td_init is 'zeros'"):
        butd.convert(module, td_weights="separate", td_init="zeros")
    with pytest.raises(ValueError, match="td_weights is 'both'"):
        butd.convert(module, td_weights="both")
