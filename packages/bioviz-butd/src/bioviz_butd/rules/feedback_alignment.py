"""Feedback alignment: the error descends through fixed random weights."""

from __future__ import annotations

from typing import Any

from bioviz_core.interfaces import Batch, Step

from bioviz_butd.rules.counter_hebb import (
    CounterHebb,
    OptimizerOf,
    SchedulerOf,
    State,
    counter_step,
    optimizer_state,
)


class FeedbackAlignment(CounterHebb):
    """Counter-Hebb learning with top-down weights that never change (Lillicrap et al. 2016)."""

    def __init__(
        self, optimizer: OptimizerOf | None = None, *, scheduler: SchedulerOf | None = None
    ) -> None:
        super().__init__(optimizer, scheduler=scheduler, td="separate")

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> State:
        """The optimiser, over bottom-up weights alone: decay must not touch the feedback."""
        super().init(model, batch, seed=seed)
        fixed = {id(weight) for weight in model.feedback().values()}
        learning = [p for p in model.parameters() if id(p) not in fixed]
        return optimizer_state(self, learning, model)

    def step(self, model: Any, batch: Batch, state: State, /, *, seed: int) -> Step[Any, State]:
        """Bottom-up, error, top-down, optimiser."""
        del seed
        return counter_step(model, batch, state, update_td=False)
