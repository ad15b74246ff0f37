"""The prototype rule, as any rule is used."""

from __future__ import annotations

import bioviz_core as bv
import pytest
import torch
from bioviz_core.bridge.torch import AdaptedModel
from bioviz_hopfield import Memory
from sklearn.datasets import load_digits


@pytest.fixture(scope="module")
def digits() -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = load_digits(return_X_y=True)
    return torch.from_numpy(images / 16).float(), torch.from_numpy(labels).long()


def batch(digits: tuple[torch.Tensor, torch.Tensor], step: int, size: int = 60) -> bv.Batch:
    part = slice(step * size, (step + 1) * size)
    return {"inputs": digits[0][part], "labels": digits[1][part]}


def trained(digits: tuple[torch.Tensor, torch.Tensor], steps: range, start: tuple = ()) -> tuple:
    rule, model = bv.create("hopfield/prototype"), Memory(num_classes=10, key_dim=64)
    state = rule.init(model, batch(digits, 0), seed=0)
    if start:
        model, state = model.with_state(start[0]), start[1]
    metrics = {}
    for step in steps:
        model, state, metrics = rule.step(model, batch(digits, step), state, seed=step)
    return model, state, metrics


def test_prototypes_of_pixels_recognize_unseen_digits(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    model, state, _ = trained(digits, range(20))
    accuracy = (model.predict(digits[0][1200:]) == digits[1][1200:]).float().mean()
    assert accuracy > 0.8
    assert state["written"] == 1200


def test_stopped_and_restarted_it_ends_in_the_same_bytes(
    digits: tuple[torch.Tensor, torch.Tensor],
) -> None:
    whole, state, metrics = trained(digits, range(12))
    half, half_state, _ = trained(digits, range(5))
    resumed, again, more = trained(digits, range(5, 12), (half.state_tree(), half_state))
    for name, value in whole.state_tree().items():
        assert torch.equal(value, resumed.state_tree()[name]), name
    assert torch.equal(state["written"], again["written"])
    assert metrics == more


def test_metrics_are_detached_scalars(digits: tuple[torch.Tensor, torch.Tensor]) -> None:
    _, _, metrics = trained(digits, range(2))
    for value in metrics.values():
        assert value.dim() == 0
        assert not value.requires_grad


def test_a_model_without_a_memory_is_refused() -> None:
    rule = bv.create("hopfield/prototype")
    found = bv.refusals(rule, AdaptedModel(torch.nn.Linear(2, 2)))
    assert [(r.kind, r.need) for r in found] == [("capability", "HasMemory")]
