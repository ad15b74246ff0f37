"""The checks that strangers run, on everything that the packages here register."""

from __future__ import annotations

from functools import partial
from typing import Any

import bioviz_core as bv
import pytest
import torch
from bioviz_core.stimuli.embedded import digits, photographs
from bioviz_core.stimuli.sources import ArraySource
from bioviz_core.testing import Case, Task, parametrize_with_checks

SGD, ADAM = partial(torch.optim.SGD, lr=0.1), partial(torch.optim.AdamW, lr=1e-3)
SHORT = {"steps": 3}


def make(name: str, **options: Any) -> Any:
    return partial(bv.create, name, **options)


FC = make("butd/fc", shape=(1, 8, 8), hidden=(16,))
SEPARATE = make("butd/fc", shape=(1, 8, 8), hidden=(16,), td_weights="separate")
MEMORY = make("hopfield/memory", num_classes=10, key_dim=64)
FIELD = make("nrf/field", seed=3)
VIT = make("fastweights/vit-autoencoder", rank=4)
PICTURES = ArraySource(inputs=photographs(64).batch(range(4))["inputs"])
PCD = "nrf/persistent-contrastive-divergence"


def misses(model: Any, batch: Any) -> float:
    """The share of digits that a memory puts into another class."""
    return float((model(batch["inputs"]).argmax(1) != batch["labels"]).double().mean())


def excess_energy(model: Any, batch: Any) -> Any:
    """Energy of the data less that of noise: what contrastive learning lowers."""
    noise = torch.rand(batch["inputs"].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        energies = [model.energy(model.states(x)).mean() for x in (batch["inputs"], noise)]
    return energies[0] - energies[1]


RULES = [
    Case("butd/counter-hebb", make("butd/counter-hebb", optimizer=SGD), Task(FC)),
    Case("separate", make("butd/counter-hebb", optimizer=ADAM), Task(SEPARATE)),
    Case("butd/feedback-alignment", make("butd/feedback-alignment", optimizer=SGD), Task(SEPARATE)),
    Case("butd/backprop", make("butd/backprop", optimizer=SGD), Task(FC)),
    Case("hopfield/prototype", task=Task(MEMORY, measure=misses)),
    Case(
        PCD,
        make(PCD, positive=SHORT, negative=SHORT, buffer_size=64),
        Task(FIELD, digits(), steps=20, batch_size=16, measure=excess_energy),
    ),
    Case(
        "fastweights/gradient-write",
        make("fastweights/gradient-write", lr=1e-3),
        Task(VIT, PICTURES, steps=5, batch_size=4),
    ),
]
MODELS = [
    Case("butd/fc", FC, Task(FC)),
    Case("butd/fc-separate", SEPARATE, Task(SEPARATE)),
    Case("hopfield/memory", MEMORY, Task(MEMORY)),
    Case("nrf/field", FIELD, Task(FIELD)),
    Case("fastweights/vit-autoencoder", VIT, Task(VIT, PICTURES)),
]


@pytest.mark.slow
@parametrize_with_checks(
    plugins=["core", "butd", "hopfield", "fastweights", "nrf"],
    rules=RULES,
    models=MODELS,
    experiments=["butd/digits"],
)
def test_everything_here_conforms(case: Case, check: Any) -> None:
    check(case)
