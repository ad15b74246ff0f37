"""Energies to gradients."""

from __future__ import annotations

import pytest
import torch
from bioviz_nrf import ShapeError, from_energy


def test_gradients_come_in_the_form_of_the_position() -> None:
    position = {"a": torch.ones(3, 2), "b": torch.full((3, 1), 2.0), "idle": torch.zeros(3, 4)}
    energy, grad = from_energy(lambda s: (s["a"].square() * s["b"]).sum(1))(position)
    assert energy.tolist() == [4.0] * 3
    assert list(grad) == ["a", "b", "idle"]
    assert torch.equal(grad["a"], torch.full((3, 2), 4.0))
    assert torch.equal(grad["b"], torch.full((3, 1), 2.0))
    assert torch.equal(grad["idle"], torch.zeros(3, 4))


def test_parameters_get_no_gradient_and_no_graph_is_kept() -> None:
    layer = torch.nn.Linear(2, 1)
    energy, grad = from_energy(lambda x: layer(x).squeeze(1))(torch.ones(3, 2))
    assert layer.weight.grad is None
    assert not energy.requires_grad
    assert not grad.requires_grad


def test_one_number_for_a_batch_is_refused() -> None:
    with pytest.raises(ShapeError, match="one energy per chain"):
        from_energy(lambda x: x.sum())(torch.ones(3, 2))
