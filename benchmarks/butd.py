"""Counter-Hebb with shared weights against autograd: the same update from the same network.

    uv run --project benchmarks python benchmarks/butd.py

One whole step without the optimiser: forward, error, update of every weight. The oracle is autograd
in float64; both errors are the largest relative L2 error of any weight's update.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path

import timm
import torch
from bioviz_butd import convert, cross_entropy, output_error
from torch import Tensor, nn
from torch.nn import functional as F

sys.path.insert(0, str(Path(__file__).parent))
import harness


def mlp() -> nn.Module:
    """The fully connected network of the paper's MNIST experiment."""
    return nn.Sequential(nn.Flatten(), nn.Linear(784, 500), nn.ReLU(), nn.Linear(500, 10))


def conv() -> nn.Module:
    """A small convolutional network with batch norm."""
    layers: list[nn.Module] = []
    for before, after in ((1, 32), (32, 64)):
        # Without bias: its derivative below a batch norm is zero, and no error is relative to it.
        layers += [nn.Conv2d(before, after, 3, padding=1, bias=False), nn.BatchNorm2d(after)]
        layers += [nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(64 * 49, 10))


def mixed() -> nn.Module:
    """Grouped, dilated and strided convolutions with group norm and GELU."""
    return nn.Sequential(
        nn.Conv2d(3, 32, 3, stride=2, padding=1), nn.GroupNorm(8, 32), nn.GELU(),
        nn.Conv2d(32, 64, 3, padding=2, dilation=2, groups=4), nn.GroupNorm(8, 64), nn.GELU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(64, 10),
    )  # fmt: skip


def resnet18() -> nn.Module:
    """timm's ResNet-18; its zero-initialised gains are drawn, or many updates would be zero."""
    net = timm.create_model("resnet18", num_classes=10)
    for name, parameter in net.named_parameters():
        if parameter.ndim == 1 and name.endswith("weight"):
            nn.init.uniform_(parameter, 0.5, 1.5)
    return net


CASES: tuple[tuple[str, Callable[[], nn.Module], tuple[int, ...]], ...] = (
    ("MLP 784-500-10, batch 20", mlp, (20, 1, 28, 28)),
    ("MLP 784-500-10, batch 128", mlp, (128, 1, 28, 28)),
    ("ConvNet 28x28, batch 64", conv, (64, 1, 28, 28)),
    ("grouped, dilated, GroupNorm 32x32, batch 32", mixed, (32, 3, 32, 32)),
    ("timm ResNet-18 64x64, batch 8", resnet18, (8, 3, 64, 64)),
)


def worst(updates: list[Tensor], oracle: list[Tensor]) -> float:
    """The largest relative L2 error of any update."""
    pairs = zip(updates, oracle, strict=True)
    return max(float((u.double() - o).norm() / o.norm().clamp_min(1e-300)) for u, o in pairs)


def measure(case: str, module: nn.Module, images: Tensor, labels: Tensor) -> harness.Row:
    """One network's row."""
    net = convert(deepcopy(module), objective=cross_entropy)
    plain = deepcopy(module)
    exact = deepcopy(module).double()
    wait = torch.cuda.synchronize if images.is_cuda else lambda: None

    def counter_hebb() -> None:
        net.zero_grad(set_to_none=True)
        outputs, trace = net.bu(images)
        _, error = output_error(net.objective, outputs, {"labels": labels})
        net.back_forward(error, trace=trace)
        wait()

    def autograd() -> None:
        plain.zero_grad(set_to_none=True)
        F.cross_entropy(plain(images), labels).backward()
        wait()

    counter_hebb(), autograd()
    F.cross_entropy(exact(images.double()), labels).backward()
    grads = [
        [p.grad.clone() for p in network.parameters() if p.grad is not None]
        for network in (net.module, plain, exact)
    ]
    errors = (worst(grads[0], grads[2]), worst(grads[1], grads[2]))
    return harness.compare(
        case, counter_hebb, autograd, peer_name="autograd", errors=errors,
        oracle="float64 autograd",
    )  # fmt: skip


def main() -> None:
    """Every case, on the CPU with one thread or on the GPU where there is one."""
    torch.set_num_threads(1)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rows = []
    for case, make, shape in CASES:
        torch.manual_seed(0)
        images, labels = torch.randn(shape, device=device), torch.arange(shape[0]) % 10
        rows.append(measure(case, make().to(device).train(), images, labels.to(device)))
        print(case, f"{rows[-1].ratio:.2f}", flush=True)
    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    packages = ("bioviz-butd", "torch", "timm")
    print(harness.write(f"butd-{device}", rows, packages=packages, threads=1, device=name))


if __name__ == "__main__":
    main()
