"""Backpropagation by autograd, the control of every other rule here."""

from __future__ import annotations

from typing import Any

from bioviz_core.interfaces import Batch, Framework, Step
from torch.optim import Optimizer

from bioviz_butd.rules.counter_hebb import BackForward, OptimizerOf, optimizer_state


class Backprop:
    """`loss.backward()` through the network's own module; its top-down weights are not used.

    `optimizer` makes one from the parameters; without one the gradients are left in `.grad`.
    """

    framework: Framework | None = "torch"
    needs: tuple[type, ...] = (BackForward,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def __init__(self, optimizer: OptimizerOf | None = None) -> None:
        self.optimizer = optimizer

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> dict[str, Optimizer]:
        """The optimiser, over bottom-up weights."""
        del batch, seed
        unused = {id(weight) for weight in model.feedback().values()}
        used = [p for p in model.parameters() if id(p) not in unused]
        return optimizer_state(self.optimizer, used, model)

    def step(
        self, model: Any, batch: Batch, state: dict[str, Optimizer], /, *, seed: int
    ) -> Step[Any, dict[str, Optimizer]]:
        """Forward, loss, backward, optimiser."""
        del seed
        if not model.training:
            model.train()
        optimizer = state.get("optimizer")
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
        loss = model.objective.loss(model(batch["inputs"], autograd=True), batch)
        loss.backward()
        if optimizer is not None:
            optimizer.step()
        return Step(model, state, {"loss": loss.detach()})
