"""The gradient of any energy by autograd: the reference that every other way must agree with."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bioviz_nrf.errors import ShapeError
from bioviz_nrf.sampling.positions import leaves, rebuild

EnergyAndGrad = Callable[[Any], tuple[Tensor, Any]]


def from_energy(energy: Callable[[Any], Tensor]) -> EnergyAndGrad:
    """`position -> (energy (chains,), gradient)` from an energy of a tensor, or a tree of them.

    The gradient is taken with respect to the position alone: parameters inside `energy` get no
    `.grad`, and no graph outlives the call.
    """

    def energy_and_grad(position: Any) -> tuple[Tensor, Any]:
        parts = [part.detach().requires_grad_() for part in leaves(position)]
        with torch.enable_grad():
            value = energy(rebuild(position, parts))
            if tuple(value.shape) != (len(parts[0]),):
                raise ShapeError(
                    f"one energy per chain expected, shape ({len(parts[0])},), got "
                    f"{tuple(value.shape)}: do not sum over the batch"
                )
            slopes = torch.autograd.grad(value.sum(), parts, materialize_grads=True)
        return value.detach(), rebuild(position, [slope.detach() for slope in slopes])

    return energy_and_grad
