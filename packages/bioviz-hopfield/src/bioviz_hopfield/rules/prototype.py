"""One memory per class: the mean of what was seen under its label, kept exactly."""

from __future__ import annotations

from typing import Any

import torch
from bioviz_core.interfaces import Batch, Framework, Step
from torch import Tensor

from bioviz_hopfield.models.memory import HasMemory


class Prototype:
    """Writes each batch into the model's memory; no gradient, no learning rate, no forgetting.

    The state counts the samples written. `accuracy` is that of the model on the batch before it is
    written: each sample is a test before it is a memory.
    """

    framework: Framework | None = "torch"
    needs: tuple[type, ...] = (HasMemory,)
    reads: tuple[str, ...] = ("inputs", "labels")
    sharded = False

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> dict[str, Tensor]:
        """Nothing written yet."""
        del model, seed
        return {"written": torch.zeros((), dtype=torch.int64, device=batch["labels"].device)}

    @torch.no_grad()
    def step(
        self, model: Any, batch: Batch, state: dict[str, Tensor], /, *, seed: int
    ) -> Step[Any, dict[str, Tensor]]:
        """Test on the batch, then write it."""
        del seed
        labels = batch["labels"]
        right = (model(batch["inputs"]).argmax(-1) == labels).float().mean()
        model = model.write(model.keys_for(batch["inputs"]), labels)
        state = {"written": state["written"] + len(labels)}
        return Step(model, state, {"accuracy": right, "written": state["written"]})
