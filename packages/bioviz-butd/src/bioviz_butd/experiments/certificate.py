"""The certificate that Counter-Hebb with shared weights computes the gradient."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

from bioviz_core.interfaces import Batch, Claim, Part

import bioviz_butd as butd

CLAIM = Claim(
    id="ch-equals-backprop",
    sentence="With shared weights the Counter-Hebb update is the gradient",
    source="BU-TD, theory",
    metric="update_deviation",
    rule="<=",
    bound=1e-12,
    tags=("certificate",),
    also=(
        Part("differing_float32_tensors", "exact", 0),
        Part("frozen_statistics_deviation", ">", 1e-2),
    ),
)
"""`frozen_statistics_deviation` is the wrong variant that must fail: it shows that a deviation
would be seen."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """One network in one mode: its tensors, those equal in float32, the worst in float64."""

    network: str
    mode: str
    tensors: int
    equal_bits: int
    deviation: float


def networks() -> dict[str, tuple[Callable[[], Any], tuple[int, ...]]]:
    """Makers of the networks that are compared, and the shape of one input, by name."""
    from torch import nn

    class Residual(nn.Module):
        """A bottleneck with a projected shortcut: two paths meet."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = nn.Sequential(
                nn.Conv2d(6, 4, 1, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True),
                nn.Conv2d(4, 12, 3, 2, 1, groups=2, bias=False), nn.BatchNorm2d(12),
            )  # fmt: skip
            self.shortcut = nn.Sequential(nn.AvgPool2d(2, ceil_mode=True), nn.Conv2d(6, 12, 1))

        def forward(self, x: Any) -> Any:
            return (self.inner(x) + self.shortcut(x)).relu()

    def residual() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 6, 3), nn.ReLU(), Residual(), nn.AdaptiveAvgPool2d(1), nn.Flatten(),
            nn.Linear(12, 10),
        )  # fmt: skip

    def graded() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(1, 8, (3, 2), 2, 1, padding_mode="reflect"), nn.GroupNorm(2, 8), nn.GELU(),
            nn.Conv2d(8, 8, 3, padding="same", dilation=2, groups=4), nn.SiLU(), nn.Dropout(0.3),
            nn.MaxPool2d(3, 2, 1), nn.Flatten(2), nn.Linear(16, 12), nn.LayerNorm(12), nn.Tanh(),
            nn.Flatten(), nn.Linear(96, 10),
        )  # fmt: skip

    made: dict[str, tuple[Callable[[], Any], tuple[int, ...]]] = {
        "fully connected": (lambda: butd.fc_net(shape=(1, 9, 7), hidden=(20, 15)), (1, 9, 7)),
        "simple": (lambda: butd.simple_net(channels=8), (1, 28, 28)),
        "residual": (residual, (1, 15, 12)),
        "graded gates": (graded, (1, 13, 14)),
    }
    norms: tuple[Literal["none", "batch", "group"], ...] = ("none", "batch", "group")
    for norm in norms:
        shape = (1, 11, 9)
        made[f"convolutional, {norm} norm"] = partial(butd.conv_net, shape=shape, norm=norm), shape
    return made


def compare() -> Iterator[Comparison]:
    """Every network, in training and evaluation, on the CPU; gains are drawn from U(0.5, 1.5)."""
    import torch

    for name, (make, shape) in networks().items():
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            made = make()
            module = made.module if isinstance(made, butd.Network) else made
            draw_gains(module)
            inputs = torch.randn(5, *shape, dtype=torch.float64)
        for training in (True, False):
            found = {}
            for dtype in (torch.float32, torch.float64):
                one = copy.deepcopy(module).to(dtype).train(training)
                found[dtype] = list(deviations(one, inputs.to(dtype)))
            equal = sum(deviation == 0 for deviation in found[torch.float32])
            mode = "training" if training else "evaluation"
            exact = found[torch.float64]
            yield Comparison(name, mode, len(exact), equal, max(exact))


def frozen_statistics_deviation() -> float:
    """How far the update is from the gradient where batch statistics count as constants."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = butd.conv_net(shape=(1, 11, 9), norm="batch").module.double()
        draw_gains(module)
        inputs = torch.randn(5, 1, 11, 9, dtype=torch.float64)
    found = deviations(module.train(), inputs, batch_norm="frozen")
    # Of a bias before a norm the gradient is zero but for rounding: it has no relative deviation.
    weights = zip(module.parameters(), found, strict=True)
    return max(deviation for weight, deviation in weights if weight.dim() > 1)


def draw_gains(module: Any) -> None:
    """Norm gains from U(0.5, 1.5): where they are zero, equality would say nothing."""
    import torch

    for part in module.modules():
        if "Norm" in type(part).__name__:
            with torch.no_grad():
                part.weight.uniform_(0.5, 1.5)


def deviations(module: Any, inputs: Any, **options: Any) -> Iterator[float]:
    """Per parameter `|update - gradient| / |gradient|`; 0.0 says equal to the bit."""
    import torch

    labels: Batch = {"labels": torch.arange(len(inputs)) % 10}
    reference = copy.deepcopy(module)
    net = butd.convert(module, objective=butd.cross_entropy, **options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)  # both draw the same dropout
        butd.cross_entropy.loss(reference(inputs), labels).backward()
        torch.manual_seed(1)
        outputs, trace = net.bu(inputs)
    _, error = butd.output_error(butd.cross_entropy, outputs, labels)
    net.back_forward(error, trace=trace)
    for mine, other in zip(module.parameters(), reference.parameters(), strict=True):
        if torch.equal(mine.grad, other.grad):
            yield 0.0
        else:
            length = float(other.grad.norm())
            yield float((mine.grad - other.grad).norm()) / length if length else math.inf
