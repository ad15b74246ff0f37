from __future__ import annotations

from functools import partial
from itertools import pairwise
from typing import Any

import bioviz_core as bv
import pytest
import torch
from bioviz_core.bridge.torch import Layered, TorchModel, as_model
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Objective
from bioviz_core.testing import Case, parametrize_with_checks, reference_task
from bioviz_predictive_coding import PredictiveCoding, relax
from bioviz_predictive_coding.rule import _layers
from torch import nn

SQUARES = Objective("squares", lambda o, b: (o - b["targets"]).square().sum(1).mean() / 2,
                    ("targets",))  # fmt: skip
SGD = partial(torch.optim.SGD, lr=0.0)


def chain(*sizes: int, between: Any = nn.Tanh) -> Any:
    torch.manual_seed(0)
    pairs = pairwise(sizes)
    parts = [p for i, o in pairs for p in (nn.Linear(i, o), between())][:-1]
    return as_model(nn.Sequential(*parts), SQUARES).double()


def batch(inputs: int, targets: int, samples: int = 6) -> Any:
    drawn = torch.Generator().manual_seed(1)
    return {
        "inputs": torch.randn(samples, inputs, generator=drawn, dtype=torch.float64),
        "targets": torch.randn(samples, targets, generator=drawn, dtype=torch.float64),
    }


def update(model: Any, given: Any, **options: Any) -> torch.Tensor:
    rule = PredictiveCoding(SGD, **options)
    rule.step(model, given, rule.init(model, given, seed=0), seed=0)
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def gradient(model: Any, given: Any) -> torch.Tensor:
    model.zero_grad()
    SQUARES.loss(model(given["inputs"]), given).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def test_the_point_of_rest_of_a_linear_chain_is_that_of_linear_algebra() -> None:
    """`|x - A u|^2 + n |B x - t|^2` is least where `(1 + n B^T B) x = A u + n B^T t`."""
    drawn, nudge = batch(4, 3), 0.7
    a, b = torch.randn(5, 4).double(), torch.randn(3, 5).double() / 3
    u, t = drawn["inputs"], drawn["targets"]
    rest = relax(
        [lambda x: x @ a.T, lambda x: x @ b.T], u, lambda o: (o - t).square().sum() / 2,
        nudge=nudge, steps=400,
    )  # fmt: skip
    hessian = torch.eye(5).double() + nudge * b.T @ b
    wanted = torch.linalg.solve(hessian, (u @ a.T + nudge * t @ b).T).T
    torch.testing.assert_close(rest.values[0], wanted, atol=1e-12, rtol=0)
    error, missed = wanted - u @ a.T, wanted @ b.T - t
    assert rest.energy == pytest.approx(
        float((error.square().sum() + nudge * missed.square().sum()) / 2), rel=1e-12
    )
    assert rest.residual < 1e-12


def test_the_update_approaches_backpropagation_in_proportion_to_the_nudge() -> None:
    given = batch(6, 3)
    wanted = gradient(chain(6, 8, 7, 3), given)
    off = [
        float((update(chain(6, 8, 7, 3), given, nudge=nudge, steps=300) - wanted).norm())
        / float(wanted.norm())
        for nudge in (1e-1, 1e-2, 1e-3)
    ]
    assert off[2] < 1e-3
    assert off[0] / off[1] == pytest.approx(10, rel=0.2)
    assert off[1] / off[2] == pytest.approx(10, rel=0.05)


def test_an_update_is_the_error_behind_a_synapse_times_the_activity_before_it() -> None:
    given, model, nudge = batch(6, 3), chain(6, 8, 3), 0.5
    update(model, given, nudge=nudge, steps=200)
    layers = _layers(model)

    def loss(outputs: torch.Tensor) -> torch.Tensor:
        return (outputs - given["targets"]).square().sum() / 2

    (value,) = relax(layers, given["inputs"], loss, nudge=nudge, steps=200).values
    error = value - layers[0](given["inputs"])
    hebbian = -(error.T @ given["inputs"]) / (nudge * len(error))
    torch.testing.assert_close(model.module[0].weight.grad, hebbian)


def test_value_nodes_stand_behind_parameters() -> None:
    sequence = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), nn.ReLU(), nn.Linear(3, 2), nn.Tanh())
    names = [[type(s).__name__ for s in layer] for layer in _layers(as_model(sequence))]
    assert names == [["Flatten", "Linear"], ["ReLU", "Linear", "Tanh"]]


def test_the_relaxation_lowers_the_energy_and_says_how_far_it_is_from_rest() -> None:
    given, ends = batch(6, 3), []
    for steps in (1, 10, 100):
        rule = PredictiveCoding(SGD, steps=steps)
        model = chain(6, 8, 3)
        ends.append(rule.step(model, given, rule.init(model, given, seed=0), seed=0).metrics)
    assert ends[0]["energy"] > ends[1]["energy"] > ends[2]["energy"]
    assert ends[0]["residual"] > ends[1]["residual"] > ends[2]["residual"]
    assert ends[2]["residual"] < 1e-8


def test_stochastic_stages_are_refused_and_named_and_leave_the_model_alone() -> None:
    sequence = nn.Sequential(nn.Linear(6, 50), nn.BatchNorm1d(50), nn.Dropout(0.5))
    model = as_model(sequence, SQUARES).double()
    before = model.state_tree()
    with pytest.raises(IncompatibleError, match="the stages 2 give another answer each time"):
        PredictiveCoding(SGD).init(model, batch(6, 50), seed=0)
    assert all(torch.equal(before[name], value) for name, value in model.state_tree().items())
    silent = as_model(nn.Sequential(nn.Linear(6, 3), nn.Dropout(0.0)), SQUARES).double()
    PredictiveCoding(SGD).init(silent, batch(6, 3), seed=0)


def test_a_frozen_model_and_one_without_stages_are_refused() -> None:
    frozen = chain(4, 3).requires_grad_(False)
    with pytest.raises(IncompatibleError, match="no trainable parameters"):
        PredictiveCoding(SGD).init(frozen, batch(4, 3), seed=0)

    class Unstaged(TorchModel):
        objective = SQUARES

    (refusal,) = bv.refusals(PredictiveCoding(SGD), Unstaged())
    assert refusal.need == Layered.__name__


@pytest.mark.parametrize("wrong", [{"nudge": 0}, {"rate": -1}, {"steps": 0}])
def test_settings_must_be_positive(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be positive"):
        PredictiveCoding(SGD, **wrong)


RULE = partial(
    bv.create,
    "predictive-coding/predictive-coding",
    optimizer=partial(torch.optim.Adam, lr=0.01),
)


@pytest.mark.slow
@parametrize_with_checks(
    plugins=["predictive-coding"],
    rules=[Case("predictive-coding", RULE, reference_task("torch"))],
)
def test_conforms(case, check):
    check(case)


def test_it_learns_digits_about_as_well_as_backpropagation() -> None:
    task = reference_task("torch")
    ends = []
    for rule in (
        RULE(),
        bv.create("core/backprop-torch", optimizer=partial(torch.optim.Adam, lr=0.01)),
    ):
        torch.manual_seed(0)
        fitted = bv.fit(task.model(), rule, task.source, steps=100, batch_size=64, seed=0)
        ends.append(task.value(fitted.model))
    assert ends[0] == pytest.approx(ends[1], rel=0.1)
    assert ends[0] < 1.0
