"""Value nodes that settle between the input and the target."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

Layer = Callable[[Tensor], Tensor]


class Relaxed(NamedTuple):
    """Value nodes `x_1 ... x_{L-1}` at rest, the energy there, and how far from rest they are.

    `residual` is the largest `|dE/dx|`, in units of `nudge`.
    """

    values: list[Tensor]
    energy: Tensor
    residual: Tensor


def energy(
    layers: Sequence[Layer], inputs: Tensor, values: Sequence[Tensor],
    loss: Callable[[Tensor], Tensor], nudge: float,
) -> Tensor:  # fmt: skip
    """`E = sum_l |x_l - f_l(x_{l-1})|^2 / 2 + nudge * loss(f_L(x_{L-1}))`, `x_0` the inputs.

    A sum over samples. With a squared error as loss, `-E` is the paper's `F` (Whittington and
    Bogacz 2017) for unit variances inside and a variance of `1 / nudge` at the output.
    """
    total, below = inputs.new_zeros(()), inputs
    for layer, value in zip(layers[:-1], values, strict=True):
        total = total + (value - layer(below)).square().sum() / 2
        below = value
    return total + nudge * loss(layers[-1](below))


def relax(
    layers: Sequence[Layer], inputs: Tensor, loss: Callable[[Tensor], Tensor], *,
    nudge: float, rate: float = 0.2, steps: int = 50,
) -> Relaxed:  # fmt: skip
    """Descend `dx_l = -rate * dE/dx_l = rate * (f_{l+1}'(x_l)^T e_{l+1} - e_l)` to rest.

    `e_l = x_l - f_l(x_{l-1})` are the errors, zero at the start, which is the plain forward pass.
    Each value node uses its own error and that of the layer behind it. `loss` sums over samples.
    """
    values, below = [], inputs
    with torch.no_grad():
        for layer in layers[:-1]:
            values.append(below := layer(below))
    residual = inputs.new_zeros(())
    for step in range(steps + 1):
        values = [value.detach().requires_grad_() for value in values]
        with torch.enable_grad():
            total = energy(layers, inputs, values, loss, nudge)
            slopes = torch.autograd.grad(total, values) if values else ()
        if slopes:
            residual = torch.stack([slope.abs().max() for slope in slopes]).max() / nudge
        if step < steps:
            values = [v - rate * s for v, s in zip(values, slopes, strict=True)]
    return Relaxed([value.detach() for value in values], total.detach(), residual)
