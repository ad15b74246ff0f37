"""Writing by gradient: the model's own objective changes its fast weights, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from bioviz_core.bridge.torch import Backprop
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Batch, HasObjective, Refusal
from torch import nn
from torch.optim import AdamW, Optimizer

from bioviz_fastweights.models.fast_weighted import FastWeighted


class GradientWrite(Backprop):
    """Gradient descent on the fast weights alone.

    AdamW with `lr` and `weight_decay`, or any other `optimizer`, which is called with the
    parameters. The slow weights are left bit for bit as they are.
    """

    needs: tuple[type, ...] = (HasObjective, FastWeighted)
    sharded = False

    def __init__(
        self,
        *,
        lr: float = 1e-4,
        weight_decay: float = 0.01,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
    ) -> None:
        if optimizer is None and not lr > 0:
            raise ValueError(f"lr must be positive, got {lr}")
        super().__init__(optimizer or partial(AdamW, lr=lr, weight_decay=weight_decay))

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Optimizer:
        """The optimizer of the fast weights; `IncompatibleError` where there are none to train."""
        del batch, seed
        give = model.fast_parameters
        parameters = [p for p in give() if p.requires_grad] if give else []
        if not parameters:
            why = f"{type(model).__name__} has no fast weights to train: attach_fast_weights first"
            raise IncompatibleError([Refusal("model", "fast_parameters", why)])
        return self.optimizer(parameters)
