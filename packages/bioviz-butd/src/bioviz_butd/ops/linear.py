"""The matrix product of a fully connected layer."""

from __future__ import annotations

from typing import Any

import torch.nn.functional as F
from torch import Tensor, nn

from bioviz_butd.ops.op import Op, Signals, Wanted, autocast_dtype


class Linear(Op):
    """`z = b W^T + c`, with any number of leading dimensions.

    Down: `t W` for the input, `sum t^T b` for the weight, `sum t` for the bias: each synapse
    changes by the product of the activities at its two ends. The sum over the batch is one matrix
    product. With a separate top-down weight `B` the signal is `t B`.
    """

    weight = 1

    def bottom_up(self, b: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Any]:
        """`b` is `(..., in)`, `weight` `(out, in)`."""
        dtype = autocast_dtype(b)
        if dtype is not None:
            b, weight = b.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        return F.linear(b, weight, bias), (b, weight)

    def top_down(
        self, kept: Any, signal: Tensor, wanted: Wanted, feedback: Tensor | None = None
    ) -> Signals:
        """Signal to the input, updates of weight and bias."""
        b, weight = kept
        down = update = bias = None
        if feedback is not None:
            weight = feedback.to(weight.dtype)
        t = signal if signal.dim() == 2 else signal.reshape(-1, signal.shape[-1])
        if wanted[0]:
            down = t.mm(weight)
            if signal.dim() != 2:
                down = down.view(b.shape)
        if wanted[1]:
            update = t.t().mm(b if b.dim() == 2 else b.reshape(-1, b.shape[-1]))
        if wanted[2]:
            bias = t.sum(0)
        return down, update, bias


def _module(build: Any, module: nn.Linear, x: Any) -> Any:
    weight, bias = build.parameter(module, "weight"), build.parameter(module, "bias")
    return build.add(Linear(), x, weight, bias)


def _function(build: Any, input: Any, weight: Any, bias: Any = None) -> Any:
    return build.add(Linear(), input, weight, bias)


RULES = {nn.Linear: _module, F.linear: _function}
