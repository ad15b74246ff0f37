"""Backpropagation by autograd, the control of every other rule here."""

from __future__ import annotations

from typing import Any

from bioviz_core.interfaces import Batch, Framework, Step

from bioviz_butd.rules.counter_hebb import (
    BackForward,
    OptimizerOf,
    SchedulerOf,
    State,
    advance,
    optimizer_state,
)


class Backprop:
    """`loss.backward()` through the network's own module; its top-down weights are not used.

    `optimizer` makes one from the parameters; without one the gradients are left in `.grad`.
    `scheduler` makes a scheduler of its learning rate, which moves after each step.
    """

    framework: Framework | None = "torch"
    needs: tuple[type, ...] = (BackForward,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def __init__(
        self, optimizer: OptimizerOf | None = None, *, scheduler: SchedulerOf | None = None
    ) -> None:
        self.optimizer, self.scheduler = optimizer, scheduler

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> State:
        """The optimiser, over bottom-up weights."""
        del batch, seed
        unused = {id(weight) for weight in model.feedback().values()}
        used = [p for p in model.parameters() if id(p) not in unused]
        return optimizer_state(self, used, model)

    def step(self, model: Any, batch: Batch, state: State, /, *, seed: int) -> Step[Any, State]:
        """Forward, loss, backward, optimiser."""
        del seed
        if not model.training:
            model.train()
        optimizer = state.get("optimizer")
        if optimizer is not None:
            optimizer.zero_grad(set_to_none=True)
        loss = model.objective.loss(model(batch["inputs"], autograd=True), batch)
        loss.backward()
        advance(state)
        return Step(model, state, {"loss": loss.detach()})
