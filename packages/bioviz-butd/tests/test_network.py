"""Traces, their errors, copies, precision: how a converted network behaves in a user's hands."""

from __future__ import annotations

import copy
from multiprocessing.reduction import ForkingPickler

import bioviz_butd as butd
import pytest
import torch
import torch.nn.functional as F
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Model, missing
from torch import nn


@pytest.fixture
def net() -> butd.Network:
    return butd.conv_net(shape=(1, 8, 8), channels=(4,), hidden=6)


@pytest.fixture
def x() -> torch.Tensor:
    return torch.randn(3, 1, 8, 8)


def test_network_is_a_model_with_the_capability_that_rules_need(net) -> None:
    assert isinstance(net, Model)
    assert missing(net, butd.BackForward) == ()
    assert missing(butd.fc_net(objective=None), butd.BackForward) == ("objective",)


def test_top_down_before_bottom_up_names_the_call_to_make(net) -> None:
    with pytest.raises(butd.MissingTraceError, match=r"net\(inputs\)"):
        net.back_forward(torch.zeros(3, 10))


def test_signal_of_another_shape_dtype_or_batch_is_refused(net, x) -> None:
    net(x)
    with pytest.raises(ValueError, match=r"\(2, 10\).*\(3, 10\)"):
        net.back_forward(torch.zeros(2, 10))
    with pytest.raises(ValueError, match="float64"):
        net.back_forward(torch.zeros(3, 10, dtype=torch.float64))


def test_changed_weights_make_a_trace_stale(net, x) -> None:
    net(x)
    with torch.no_grad():
        net.module[0].weight.mul_(2)
    with pytest.raises(butd.StaleTraceError, match=r"0\.weight"):
        net.back_forward(torch.zeros(3, 10))
    net.back_forward(torch.zeros(3, 10), allow_stale=True)
    net(x)
    x.add_(1)
    with pytest.raises(butd.StaleTraceError, match="inputs"):
        net.back_forward(torch.zeros(3, 10))


def test_two_traces_in_flight_do_not_mix(net, x) -> None:
    other = torch.randn(2, 1, 8, 8)
    first, second = net.bu(x), net.bu(other)
    for (out, trace), images in ((first, x), (second, other)):
        e = torch.randn_like(out)
        _, updates = net.top_down(e, trace=trace)
        fresh, own = net.bu(images)
        assert torch.equal(out, fresh)
        assert all(torch.equal(u, updates[n]) for n, u in net.top_down(e, trace=own)[1].items())
        assert trace.batch == len(images)


def test_released_trace_is_of_no_use(net, x) -> None:
    out, trace = net.bu(x)
    trace.release()
    with pytest.raises(butd.MissingTraceError, match="released"):
        net.back_forward(out, trace=trace)


def test_backward_on_the_output_explains_itself(net, x) -> None:
    loss = F.cross_entropy(net(x), torch.tensor([0, 1, 2]))
    with pytest.raises(butd.DetachedError, match="back_forward") as caught:
        loss.backward()
    assert isinstance(caught.value, IncompatibleError), "a matrix of rules shows it as refused"
    out = net(x)
    assert not out.requires_grad
    assert out.grad_fn is None
    assert out.numpy().shape == (3, 10)
    with torch.no_grad():
        assert type(net(x)) is torch.Tensor


def test_updates_accumulate_as_gradients_do(net, x) -> None:
    out, trace = net.bu(x)
    e = torch.randn_like(out)
    net.back_forward(e, trace=trace)
    once = {n: p.grad.clone() for n, p in net.named_parameters()}
    net.back_forward(e, trace=trace)
    assert all(torch.equal(p.grad, 2 * once[n]) for n, p in net.named_parameters())
    before = {n: p.grad.clone() for n, p in net.named_parameters()}
    signal = net.back_forward(e, trace=trace, update=False, need_input=True)
    assert signal.shape == x.shape
    assert all(torch.equal(p.grad, before[n]) for n, p in net.named_parameters())


def test_separate_weights_receive_the_update_of_their_partner(x) -> None:
    net = butd.conv_net(shape=(1, 8, 8), td_weights="separate")
    out, trace = net.bu(x)
    net.back_forward(torch.randn_like(out), trace=trace)
    for name, td in net.feedback().items():
        own = net.module.get_parameter(name)
        assert torch.equal(td.grad, own.grad)
        assert td.grad.data_ptr() != own.grad.data_ptr(), "clipping would scale it twice"


def test_copies_and_messages_to_a_process_leave_the_activities_behind(net, x) -> None:
    out = net(x)
    for other in (copy.deepcopy(net), ForkingPickler.loads(ForkingPickler.dumps(net))):
        assert other._trace is None
        assert torch.equal(other(x), out)
        other.module[0].weight = nn.Parameter(other.module[0].weight + 1)
        assert not torch.equal(other(x), out), "the copy computes with its own weights"
    assert torch.equal(net(x), out)
    assert not any("trace" in key for key in net.state_dict())


def test_state_goes_out_and_comes_back_in_place(x) -> None:
    net = butd.fc_net(shape=(1, 8, 8), hidden=(5,), td_weights="separate", seed=1)
    other = butd.fc_net(shape=(1, 8, 8), hidden=(5,), td_weights="separate", seed=2)
    weight = other.module[1].weight
    assert other.with_state(net.state_tree()) is other
    assert other.module[1].weight is weight
    assert torch.equal(net(x), other(x))
    assert all(torch.equal(a, other.feedback()[n]) for n, a in net.feedback().items())


def test_activations_are_copies_in_evaluation_mode() -> None:
    net = butd.conv_net(shape=(1, 8, 8), norm="batch").train()
    x = torch.randn(2, 1, 8, 8)
    found = net.activations(x)
    assert list(found) == [str(i) for i in range(12)]
    assert net.training
    assert torch.equal(found["11"], net.eval()(x))


def test_empty_batch_gives_zero_updates(net) -> None:
    out, trace = net.bu(torch.zeros(0, 1, 8, 8))
    net.back_forward(torch.zeros_like(out), trace=trace)
    assert all(p.grad is not None and not p.grad.any() for p in net.parameters())


def test_precision_under_autocast_is_that_of_autograd(gained) -> None:
    layers = (
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.GroupNorm(2, 4), nn.GELU(),
        nn.Flatten(), nn.Linear(144, 12), nn.LayerNorm(12), nn.Tanh(), nn.Linear(12, 10),
    )  # fmt: skip
    module = gained(nn.Sequential(*layers))
    reference = copy.deepcopy(module)
    net = butd.convert(module, objective=butd.cross_entropy)
    x, labels = torch.randn(8, 1, 8, 8), torch.arange(8)
    with torch.autocast("cpu", torch.bfloat16):
        F.cross_entropy(reference(x), labels).backward()
        out, trace = net.bu(x)
        assert out.dtype == torch.bfloat16
        _, error = butd.output_error(net.objective, out, {"labels": labels})
        net.back_forward(error, trace=trace)
    for mine, other in zip(module.parameters(), reference.parameters(), strict=True):
        assert mine.grad.dtype == mine.dtype
        # A bias before a batch norm has no gradient: both are rounding.
        if other.grad.norm() > 1e-3:
            assert (mine.grad - other.grad).norm() <= 1e-2 * other.grad.norm()


def test_replicas_of_data_parallel_are_refused(net, x) -> None:
    replica = net._replicate_for_data_parallel()
    with pytest.raises(butd.UnsupportedOpError, match="one process per device"):
        replica(x)


def test_an_update_does_not_see_other_layers(net, x) -> None:
    out, trace = net.bu(x)
    e = torch.randn_like(out)
    _, before = net.top_down(e, trace=trace)
    with torch.no_grad():
        net.module[0].weight.zero_()
    _, after = net.top_down(e, trace=trace, allow_stale=True)
    assert all(torch.equal(before[n], after[n]) for n in before), "nothing is below the lowest"
    trace.kept[0] = tuple(torch.randn_like(k) for k in trace.kept[0])
    _, after = net.top_down(e, trace=trace, allow_stale=True)
    changed = {n for n in before if not torch.equal(before[n], after[n])}
    assert changed == {"0.weight"}
