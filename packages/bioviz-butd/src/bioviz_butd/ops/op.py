"""What an op is: one operation's bottom-up computation and its counter signal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

Locality = Literal["synaptic", "lateral", "population", "jacobian"]
Signals = Sequence[Tensor | None]
Wanted = Sequence[bool]


class Op:
    """One operation of the traced network, with its settings.

    `bottom_up(*operands)` gives `(value, kept)`, where `kept` is the activity that the way down
    needs. `top_down(kept, signal, wanted)` turns the counter signal of the value into that of each
    operand: a signal for an activity, an update for a parameter, both sums over the batch; None
    where `wanted` is False. Both run without autograd and see this operation's ends alone.

    `locality` says what the update needs besides the two ends of its synapse. `weight` is the
    place of the operand that a separate top-down weight may replace on the way down; such an op
    takes that weight as a fourth argument. `is_view` marks values that may share memory with the
    first operand. An op reads its operands only and never writes into them.
    """

    locality: Locality = "synaptic"
    weight: ClassVar[int | None] = None
    is_view: ClassVar[bool] = False

    def bottom_up(self, *operands: Any) -> tuple[Any, Any]:
        """The value, and what the way down needs."""
        raise NotImplementedError

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The counter signal of each operand."""
        raise NotImplementedError


def autocast_dtype(tensor: Tensor) -> torch.dtype | None:
    """The dtype that autocast gives this tensor's matrix products; None outside autocast."""
    kind = tensor.device.type
    if not torch.is_autocast_enabled(kind) or tensor.dtype == torch.float64:
        return None
    return torch.get_autocast_dtype(kind)
