"""Feedback alignment: the error descends through fixed random weights."""

from __future__ import annotations

from typing import Any

from bioviz_core.interfaces import Batch, Step
from torch.optim import Optimizer

from bioviz_butd.rules.counter_hebb import CounterHebb, counter_step, optimizer_state


class FeedbackAlignment(CounterHebb):
    """Counter-Hebb learning with top-down weights that never change (Lillicrap et al. 2016)."""

    def __init__(self, optimizer: Any = None) -> None:
        super().__init__(optimizer, td="separate")

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> dict[str, Optimizer]:
        """The optimiser, over bottom-up weights alone: decay must not touch the feedback."""
        super().init(model, batch, seed=seed)
        fixed = {id(weight) for weight in model.feedback().values()}
        learning = [p for p in model.parameters() if id(p) not in fixed]
        return optimizer_state(self.optimizer, learning, model)

    def step(
        self, model: Any, batch: Batch, state: dict[str, Optimizer], /, *, seed: int
    ) -> Step[Any, dict[str, Optimizer]]:
        """Bottom-up, error, top-down, optimiser."""
        del seed
        return counter_step(model, batch, state, update_td=False)
