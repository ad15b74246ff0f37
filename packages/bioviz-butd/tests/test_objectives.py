"""The error at the top is the derivative of the loss, for every reduction and weighting."""

from __future__ import annotations

import bioviz_butd as butd
import pytest
import torch
from bioviz_butd.objectives import ClosedForm
from bioviz_core.interfaces import Objective

W = torch.tensor([0.5, 2.0, 1.0, 0.1, 3.0])
CASES = {
    "plain": ({}, (6, 5)),
    "sum": ({"reduction": "sum"}, (6, 5)),
    "weights": ({"weight": W}, (6, 5)),
    "ignored": ({"ignore_index": 2}, (6, 5)),
    "smooth": ({"label_smoothing": 0.2}, (6, 5)),
    "smooth sum": ({"label_smoothing": 0.2, "reduction": "sum"}, (6, 5)),
    "everything": ({"weight": W, "ignore_index": 2, "label_smoothing": 0.1}, (6, 5)),
    "one sample": ({"weight": W}, (1, 5)),
    "sequence": ({"weight": W, "ignore_index": 2}, (3, 5, 7)),
    "images": ({}, (2, 5, 3, 4)),
    "volumes": ({"weight": W, "label_smoothing": 0.1}, (2, 5, 3, 2, 2)),
}


def agrees(objective: ClosedForm, outputs: torch.Tensor, batch: dict, rtol: float) -> None:
    plain = Objective(objective.name, objective.loss, objective.reads)
    loss, error = butd.output_error(objective, outputs, batch)
    expected_loss, expected = butd.output_error(plain, outputs, batch)
    assert error.shape == outputs.shape
    assert error.dtype == outputs.dtype
    torch.testing.assert_close(loss, expected_loss, rtol=rtol, atol=0)
    assert (error - expected).norm() <= rtol * expected.norm()


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("case", CASES)
def test_cross_entropy(case, dtype) -> None:
    options, shape = CASES[case]
    outputs = 3 * torch.randn(shape, dtype=dtype)
    labels = torch.randint(0, 5, (shape[0], *shape[2:]))
    options = {k: v.to(dtype) if k == "weight" else v for k, v in options.items()}
    rtol = 1e-6 if dtype == torch.float32 else 1e-14
    agrees(butd.cross_entropy_with(**options), outputs, {"labels": labels}, rtol)


@pytest.mark.parametrize("case", ["plain", "sum", "weights", "smooth"])
def test_cross_entropy_with_probabilities(case) -> None:
    options, shape = CASES[case]
    labels = torch.rand(shape).double().softmax(1)
    outputs = torch.randn(shape, dtype=torch.float64)
    agrees(butd.cross_entropy_with(**options), outputs, {"labels": labels}, 1e-13)


def test_hard_labels_give_the_bits_of_autograd() -> None:
    outputs, batch = torch.randn(9, 5), {"labels": torch.randint(0, 5, (9,))}
    plain = Objective("plain", butd.cross_entropy.loss)
    _, error = butd.output_error(butd.cross_entropy_with(weight=W), outputs, batch)
    _, expected = butd.output_error(
        Objective("weighted", butd.cross_entropy_with(weight=W).loss), outputs, batch
    )
    assert torch.equal(error, expected)
    assert not torch.equal(error, butd.output_error(plain, outputs, batch)[1])


@pytest.mark.parametrize("reduction", ["mean", "sum"])
@pytest.mark.parametrize("pos_weight", [None, torch.tensor([0.5, 2.0, 1.0, 4.0])])
def test_binary_cross_entropy(reduction, pos_weight) -> None:
    outputs = 4 * torch.randn(7, 4, dtype=torch.float64)
    batch = {"targets": torch.rand(7, 4, dtype=torch.float64)}
    objective = butd.binary_cross_entropy_with(pos_weight=pos_weight, reduction=reduction)
    agrees(objective, outputs, batch, 1e-14)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_mean_squared_error(reduction) -> None:
    outputs = torch.randn(7, 4, 3, dtype=torch.float64)
    batch = {"targets": torch.randn(7, 4, 3, dtype=torch.float64)}
    agrees(butd.mean_squared_error_with(reduction=reduction), outputs, batch, 1e-15)


def test_any_loss_is_differentiated_by_itself() -> None:
    objective = Objective("fourth power", lambda y, batch: (y**4).sum())
    y = torch.randn(3, 2)
    loss, error = butd.output_error(objective, y, {})
    torch.testing.assert_close(error, 4 * y**3)
    assert not loss.requires_grad


def test_objectives_have_names_for_files() -> None:
    net = butd.fc_net(objective="mean-squared-error")
    assert net.objective is butd.mean_squared_error
    with pytest.raises(ValueError, match=r"'hinge'.*cross-entropy"):
        butd.fc_net(objective="hinge")
