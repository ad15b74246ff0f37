"""The rules as `fit` sees them: a whole step, whose loss and weights are those of theory."""

from __future__ import annotations

from functools import partial

import bioviz_butd as butd
import pytest
import torch
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import LearningRule, refusals
from torch import nn
from torch.optim import SGD, Adam, AdamW


def batches(count: int, *shape: int, dtype=torch.float32):
    for seed in range(count):
        generator = torch.Generator().manual_seed(seed)
        yield {
            "inputs": torch.randn(4, *shape, generator=generator, dtype=dtype),
            "labels": torch.randint(0, 10, (4,), generator=generator),
        }


def exact(count: int, *shape: int):
    return batches(count, *shape, dtype=torch.float64)


def train(net, rule, data):
    data = list(data)
    state = rule.init(net, data[0], seed=0)
    losses = []
    for step, batch in enumerate(data):
        torch.manual_seed(step)
        net, state, metrics = rule.step(net, batch, state, seed=step)
        losses.append(metrics["loss"])
    return torch.stack(losses)


@pytest.mark.parametrize("rule", [butd.CounterHebb, butd.Backprop, butd.FeedbackAlignment])
def test_rules_are_learning_rules(rule) -> None:
    assert isinstance(rule(), LearningRule)


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_shared_counter_hebb_trains_to_the_bits_of_backprop(norm) -> None:
    nets = [butd.conv_net(shape=(1, 9, 8), norm=norm, seed=5) for _ in range(2)]
    optimizer = partial(AdamW, lr=1e-2)
    losses = [
        train(net, rule(optimizer), batches(12, 1, 9, 8))
        for net, rule in zip(nets, (butd.CounterHebb, butd.Backprop), strict=True)
    ]
    assert torch.equal(*losses)
    first, second = (net.state_dict() for net in nets)
    assert all(torch.equal(first[k], second[k]) for k in first)


def test_a_whole_step_runs_with_autograd_out_of_order(monkeypatch, gained) -> None:
    def broken(*args, **options):
        raise AssertionError("autograd ran")

    module = gained(butd.conv_net(shape=(1, 8, 8), norm="batch").module)
    net = butd.convert(module, objective=butd.cross_entropy)
    rule = butd.CounterHebb(partial(SGD, lr=0.1))
    (batch,) = batches(1, 1, 8, 8)
    state = rule.init(net, batch, seed=0)
    before = {k: v.clone() for k, v in net.state_dict().items()}
    for place, name in (
        (torch.Tensor, "backward"), (torch.autograd, "backward"), (torch.autograd, "grad"),
        (torch.func, "vjp"), (torch.func, "grad"), (torch.autograd.Function, "apply"),
        (torch.autograd.graph, "_engine_run_backward"),
    ):  # fmt: skip
        monkeypatch.setattr(place, name, broken)
    with torch.no_grad():
        rule.step(net, batch, state, seed=0)
    # A bias in front of a batch norm does nothing: its gradient is zero but for rounding.
    convolutions = (n for n, m in net.named_modules() if isinstance(m, torch.nn.Conv2d))
    idle = {f"{name}.bias" for name in convolutions}
    same = {n for n, p in net.named_parameters() if torch.equal(before[n], p)}
    assert same <= idle


def test_no_tensor_of_a_trace_has_a_graph() -> None:
    net = butd.conv_net(shape=(1, 8, 8), norm="batch")
    (batch,) = batches(1, 1, 8, 8)
    out, trace = net.bu(batch["inputs"])

    def tensors(value):
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, tuple | list):
            for part in value:
                yield from tensors(part)

    found = list(tensors(trace.kept))
    assert len(found) > 10
    assert all(t.grad_fn is None for t in [out, *found])


LAWS = {
    "SGD": (partial(SGD, lr=0.05, weight_decay=0.3), 0.05 * 0.3),
    "AdamW": (partial(AdamW, lr=0.01, weight_decay=0.5), 0.01 * 0.5),
}


def differences(net):
    return {name: (w - b).detach().clone() for name, (w, b) in net.weight_pairs().items()}


def separate(dtype=torch.float64):
    return butd.conv_net(shape=(1, 8, 8), channels=(4,), hidden=6, td_weights="separate").to(dtype)


@pytest.mark.parametrize("law", LAWS)
def test_weights_converge_by_the_law_whatever_the_data(law) -> None:
    optimizer, rate = LAWS[law]
    net = separate()
    start = differences(net)
    train(net, butd.CounterHebb(optimizer, td="separate"), exact(50, 1, 8, 8))
    for name, now in differences(net).items():
        assert (now - (1 - rate) ** 50 * start[name]).abs().max() <= 1e-12


def test_with_momentum_the_difference_follows_its_own_recursion() -> None:
    net, eta, mu, decay = separate(), 0.05, 0.9, 0.1
    d = differences(net)
    v = {name: torch.zeros_like(x) for name, x in d.items()}
    rule = butd.CounterHebb(partial(SGD, lr=eta, momentum=mu, weight_decay=decay))
    train(net, rule, exact(50, 1, 8, 8))
    for _ in range(50):
        v = {name: mu * v[name] + decay * d[name] for name in d}
        d = {name: d[name] - eta * v[name] for name in d}
    assert all((now - d[name]).abs().max() <= 1e-12 for name, now in differences(net).items())


def test_coupled_decay_of_adam_obeys_no_such_law() -> None:
    net = separate()
    start = differences(net)
    train(net, butd.CounterHebb(partial(Adam, lr=0.01, weight_decay=0.5)),
          exact(50, 1, 8, 8))  # fmt: skip
    worst = max(
        float((now - (1 - 0.005) ** 50 * start[name]).abs().max())
        for name, now in differences(net).items()
    )
    assert worst > 1e-3


def test_copied_weights_follow_the_shared_run() -> None:
    nets = [
        butd.fc_net(shape=(1, 5, 5), hidden=(8, 8), **options).double()
        for options in ({}, {"td_weights": "separate", "td_init": "copy"})
    ]
    losses = [
        train(net, butd.CounterHebb(partial(SGD, lr=0.2)), exact(100, 1, 5, 5)) for net in nets
    ]
    assert (losses[0] - losses[1]).abs().max() <= 1e-10


def test_feedback_alignment_leaves_the_top_down_weights_alone() -> None:
    net = separate(torch.float32)
    before = {name: b.clone() for name, b in net.feedback().items()}
    own = net.module[0].weight.clone()
    train(
        net, butd.FeedbackAlignment(partial(AdamW, lr=0.01, weight_decay=0.5)), batches(5, 1, 8, 8)
    )
    assert all(torch.equal(b, before[name]) for name, b in net.feedback().items())
    assert all(b.grad is None for b in net.feedback().values())
    assert not torch.equal(net.module[0].weight, own)


def test_frozen_weight_freezes_its_partner() -> None:
    net = separate(torch.float32)
    net.module[0].requires_grad_(False)
    before = net.feedback()["0.weight"].clone()
    train(net, butd.CounterHebb(partial(SGD, lr=0.1)), batches(3, 1, 8, 8))
    assert torch.equal(net.feedback()["0.weight"], before)


def test_without_an_optimiser_the_updates_are_left_in_grad() -> None:
    net = butd.fc_net(shape=(1, 5, 5), hidden=(4,))
    (batch,) = batches(1, 1, 5, 5)
    rule = butd.CounterHebb()
    state = rule.init(net, batch, seed=0)
    rule.step(net, batch, state, seed=0)
    once = net.module[1].weight.grad.clone()
    rule.step(net, batch, state, seed=0)
    assert torch.equal(net.module[1].weight.grad, 2 * once)


def test_step_trains_in_training_mode() -> None:
    net = butd.conv_net(shape=(1, 8, 8), norm="batch").eval()
    train(net, butd.CounterHebb(), batches(1, 1, 8, 8))
    assert net.module[1].num_batches_tracked == 1


def test_what_does_not_fit_is_refused_before_any_work() -> None:
    from bioviz_core.bridge.torch import as_model

    (batch,) = batches(1, 1, 5, 5)
    with pytest.raises(IncompatibleError, match=r"separate top-down weights.*shared ones"):
        butd.FeedbackAlignment().init(butd.fc_net(shape=(1, 5, 5)), batch, seed=0)
    frozen = butd.fc_net(shape=(1, 5, 5)).requires_grad_(False)
    for rule in (butd.CounterHebb(), butd.Backprop()):
        with pytest.raises(IncompatibleError, match="no trainable parameters"):
            rule.init(frozen, batch, seed=0)
    plain = as_model(nn.Linear(3, 3), objective=butd.cross_entropy)
    (refusal,) = refusals(butd.CounterHebb(), plain)
    assert refusal.kind == "capability"
    assert refusal.need == "BackForward"
    assert refusals(butd.CounterHebb(), butd.fc_net()) == ()
