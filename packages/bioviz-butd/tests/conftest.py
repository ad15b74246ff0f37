"""What several tests share: networks without hollow zeros, and the comparison with autograd."""

from __future__ import annotations

import copy
from collections.abc import Callable

import bioviz_butd as butd
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

NORMS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.GroupNorm, nn.LayerNorm)


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture
def gained() -> Callable[[nn.Module], nn.Module]:
    """Draws norm gains from U(0.5, 1.5) and shifts from N(0, 0.1): a gain of zero hides errors."""

    def draw(module: nn.Module) -> nn.Module:
        with torch.no_grad():
            for part in module.modules():
                if isinstance(part, NORMS) and part.weight is not None:
                    part.weight.uniform_(0.5, 1.5)
                    part.bias.normal_(0, 0.1)
                if (
                    isinstance(part, nn.BatchNorm1d | nn.BatchNorm2d)
                    and part.running_mean is not None
                ):
                    part.running_mean.normal_(0, 0.1)
                    part.running_var.uniform_(0.5, 1.5)
            for name, parameter in module.named_parameters():
                if name.endswith("gamma"):  # layer scale
                    parameter.uniform_(0.5, 1.5)
        return module

    return draw


@pytest.fixture
def deviations() -> Callable[..., dict[str, float]]:
    """Relative deviation of each update from autograd on a copy; 0.0 says equal to the bit."""

    def compare(module: nn.Module, inputs: Tensor, **options: object) -> dict[str, float]:
        reference = copy.deepcopy(module)
        net = butd.convert(module, **options)
        torch.manual_seed(1)
        outputs = reference(inputs)
        labels = torch.arange(len(inputs)) % outputs.shape[1]
        copied = outputs.detach().requires_grad_()
        F.cross_entropy(copied, labels).backward()
        F.cross_entropy(outputs, labels).backward()
        torch.manual_seed(1)
        own, trace = net.bu(inputs)
        assert torch.equal(own, outputs)
        net.back_forward(copied.grad, trace=trace)
        for (name, mine), other in zip(module.named_buffers(), reference.buffers(), strict=True):
            assert torch.equal(mine, other), name
        found = {}
        for (name, mine), other in zip(
            module.named_parameters(), reference.parameters(), strict=True
        ):
            if other.grad is None:
                assert mine.grad is None, name
            elif torch.equal(mine.grad, other.grad):
                found[name] = 0.0
            else:
                found[name] = float((mine.grad - other.grad).norm() / other.grad.norm())
        return found

    return compare
