"""A local Jacobian product, for a single operation that has no rule of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from bioviz_butd.ops.op import Op, Signals, Wanted


class LocalVJP(Op):
    """Any one operation; down, the signal times its own Jacobian, by `torch.func.vjp`.

    Nothing but this operation is differentiated, yet the update is not claimed to be local.
    """

    locality = "jacobian"

    def __init__(self, function: Callable[..., Tensor]) -> None:
        self.function = function

    def bottom_up(self, *operands: Any) -> tuple[Tensor, Any]:
        """What the function gives, which must be one tensor."""
        places = [
            i for i, x in enumerate(operands) if isinstance(x, Tensor) and x.is_floating_point()
        ]

        def call(*tensors: Tensor) -> Tensor:
            full = list(operands)
            for place, tensor in zip(places, tensors, strict=True):
                full[place] = tensor
            return self.function(*full)

        value, pull, *_ = torch.func.vjp(call, *[operands[i].detach() for i in places])
        return value.detach(), (pull, places)

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The signal times the Jacobian."""
        pull, places = kept
        down: list[Tensor | None] = [None] * len(wanted)
        for place, tensor in zip(places, pull(signal), strict=True):
            down[place] = tensor.detach() if wanted[place] else None
        return down
