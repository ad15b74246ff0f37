"""Separate top-down weights: one for each weight that sends a signal, in the same shape."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from typing import Literal

import torch
from torch import Tensor, nn

TDInit = Literal["independent", "copy", "noisy_copy", "reference"]
TDWeights = Literal["shared", "separate"]


class TopDownWeights(nn.Module):
    """Top-down weights under the names of the bottom-up ones: `net.td.state_dict()` mirrors them.

    `init` is "independent" (entries drawn anew, with replacement, from those of the bottom-up
    weight, so of the same distribution whatever initialised it), "copy", "noisy_copy" (a copy
    times `1 + 0.05 N(0, 1)`) or "reference" (Kaiming-uniform of gain sqrt(2) and the other fan, as
    in the paper's public code: about three times as wide).
    """

    def __init__(self, weights: Mapping[str, Tensor], *, init: TDInit, seed: int) -> None:
        super().__init__()
        for name, weight in weights.items():
            generator = torch.Generator().manual_seed(seed ^ zlib.crc32(name.encode()))
            value = _draw(weight.detach().cpu(), init, generator)
            self._place(name, nn.Parameter(value.to(weight.device, weight.dtype)))

    def by_name(self) -> dict[str, nn.Parameter]:
        """The weights by the name of their bottom-up partner."""
        return dict(self.named_parameters())

    def _place(self, name: str, parameter: nn.Parameter) -> None:
        *path, leaf = name.split(".")
        owner: nn.Module = self
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner.get_submodule(part)
        owner.register_parameter(leaf, parameter)


def _draw(weight: Tensor, init: TDInit, generator: torch.Generator) -> Tensor:
    if init == "copy":
        return weight.clone()
    if init == "noisy_copy":
        return weight * (1 + 0.05 * torch.randn(weight.shape, generator=generator))
    if init == "independent":
        places = torch.randint(weight.numel(), weight.shape, generator=generator)
        return weight.flatten()[places]
    if init == "reference":
        fan = weight.shape[0] * math.prod(weight.shape[2:])
        bound = math.sqrt(2) * math.sqrt(3 / fan)
        return (2 * torch.rand(weight.shape, generator=generator) - 1) * bound
    raise ValueError(
        f"td_init is {init!r}; it must be 'independent', 'copy', 'noisy_copy' or 'reference'"
    )
