"""Writing several contexts into one trained autoencoder, and crossing them with all images."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from bioviz_core import fit
from bioviz_core.bridge.torch import Backprop
from bioviz_core.lab.run import Run
from bioviz_core.stimuli.embedded import photograph
from bioviz_core.stimuli.folders import to_square
from bioviz_core.stimuli.sources import ArraySource, column, patches
from torch import Tensor

from bioviz_fastweights.attach import attach_fast_weights
from bioviz_fastweights.fast_weights import FastWeights
from bioviz_fastweights.models.autoencoder import ViTAutoencoder
from bioviz_fastweights.rules.gradient_write import GradientWrite

if TYPE_CHECKING:
    from bioviz_fastweights.experiments.contexts import ContextsConfig

SLOW = ("rocket", "camera", "coins", "brick", "grass", "gravel")
WRITTEN = ("chelsea", "coffee", "astronaut")
"""Photographs of skimage.data that the slow weights see, and that the contexts are written."""
FACTORS = tuple(np.linspace(1, 0, 9))
"""What is left of a context as it decays."""


@dataclass(frozen=True)
class Memories:
    """The autoencoder with a context for each image set, `(n, 3, 64, 64)` in [0, 1]."""

    model: ViTAutoencoder
    sets: Mapping[str, Tensor]

    @property
    def fast(self) -> FastWeights:
        """Its fast weights."""
        assert self.model.fast_weights is not None
        return self.model.fast_weights

    @property
    def size(self) -> int:
        """Weights of one context's adapters that may differ from zero."""
        every = self.fast.adapters(self.fast.contexts[0])
        return sum(int(a.weight.numel() + b.mask.sum()) for a, b, _ in every)

    @torch.no_grad()
    def copies(self, context: str | None, images: str) -> Tensor:
        """A set's images as the network copies them, under one context or with slow weights."""
        if context is not None:
            self.fast.use(context)
        shown = self.sets[images].to(next(self.model.parameters()))
        with self.fast.disabled() if context is None else nullcontext():
            copies: Tensor = self.model(shown)
        return copies

    def error(self, context: str | None, images: str) -> float:
        """The reconstruction error of a set under one context, or with slow weights alone."""
        return self.loss(self.copies(context, images), images)

    def loss(self, copies: Tensor, images: str) -> float:
        """The autoencoder's own objective on copies of a set."""
        objective: Any = self.model.objective
        return float(objective.loss(copies, {"inputs": self.sets[images].to(copies)}))


@dataclass(frozen=True, slots=True)
class Crossed:
    """Errors `(1 + contexts, sets)`, the slow weights first; by decay factor; and of mixtures.

    `decay (contexts, factors)` is each context on its own images. `mixtures (2, shares)` are the
    first two sets under `share` of the first context and the rest of the second.
    """

    names: tuple[str, ...]
    errors: np.ndarray
    decay: np.ndarray
    mixtures: np.ndarray

    @property
    def falls(self) -> np.ndarray:
        """How far each context brings each set's error below that of the slow weights, in %."""
        return np.asarray(100 * (1 - self.errors[1:] / self.errors[0]))

    @property
    def own(self) -> float:
        """The mean fall of a context's own images."""
        return float(np.diag(self.falls).mean())

    @property
    def other(self) -> float:
        """The mean fall of the others'."""
        return float(self.falls[~np.eye(len(self.falls), dtype=bool)].mean())


def write_all(config: ContextsConfig, run: Run) -> Memories:
    """Train the slow weights, attach, and write each context in a phase of its own."""
    model = ViTAutoencoder("tiny-64", seed=run.seed_for("model"))
    source = patches(
        [to_square(photograph(name), 128) for name in SLOW], size=64, count=2000,
        seed=run.seed_for("slow"),
    )  # fmt: skip
    rule: Any = Backprop(partial(torch.optim.AdamW, lr=config.slow_rate))
    options: Any = {"run": run, "batch_size": 8}
    model = _learn(model, rule, source, steps=config.slow_steps, phase="slow", **options)
    fast = attach_fast_weights(model, rank=config.rank, seed=run.seed_for("fast"))
    names = WRITTEN[: config.contexts]
    for name in names:
        fast.add_context(name)
    sets = {name: _patches(name, config.images, run) for name in names}
    options = {"run": run, "batch_size": config.images}
    for name, source in sets.items():
        fast.use(name)
        rule = GradientWrite(lr=config.fast_rate)
        model = _learn(model, rule, source, steps=config.exposures, phase=name, **options)
    shown = {name: torch.from_numpy(column(source, "inputs")) for name, source in sets.items()}
    return Memories(model.eval(), shown)


def crossed(memories: Memories) -> Crossed:
    """Every context on every set, each on its own as it decays, and the first two mixed."""
    names = tuple(memories.sets)
    errors = [[memories.error(context, name) for name in names] for context in (None, *names)]
    decay = [[_shared(memories, {name: f}, name) for f in FACTORS] for name in names]
    first, second = names[:2]
    mixtures = [
        [_shared(memories, {first: f, second: 1 - f}, name) for f in FACTORS]
        for name in (first, second)
    ]
    return Crossed(names, np.array(errors), np.array(decay), np.array(mixtures))


def _shared(memories: Memories, shares: Mapping[str, float], images: str) -> float:
    memories.fast.mix({name: float(share) for name, share in shares.items()})
    with torch.no_grad():
        shown = memories.sets[images].to(next(memories.model.parameters()))
        return memories.loss(memories.model(shown), images)


def _learn(
    model: ViTAutoencoder, rule: Any, source: Any, *, steps: int, **options: Any
) -> ViTAutoencoder:
    often = max(50, steps // 4)
    fitted = fit(
        model, rule, source, steps=steps, checkpoint_every=often, log_every=max(1, steps // 40),
        **options,
    )  # fmt: skip
    learnt: ViTAutoencoder = fitted.model
    return learnt


def _patches(name: str, count: int, run: Run) -> ArraySource:
    return patches(
        [to_square(photograph(name), 128)], size=64, count=count, seed=run.seed_for("patches", name)
    )
