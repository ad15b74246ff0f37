"""One task put to many models: every registered rule meets every model that the task can make.

A cell trains or is refused with a typed reason; nothing else happens to anybody's rule or model.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import bioviz_core as bv
import numpy as np
import optax
import pytest
import torch
from bioviz_core.errors import IncompatibleError
from bioviz_core.stimuli.embedded import photographs
from bioviz_core.stimuli.sources import ArraySource

SGD = {"optimizer": partial(torch.optim.SGD, lr=1e-3)}
BRIEF = {"positive": {"steps": 2}, "negative": {"steps": 2}, "buffer_size": 64}
RULES: dict[str, dict[str, Any]] = {
    "butd/backprop": SGD,
    "butd/counter-hebb": SGD,
    "butd/feedback-alignment": SGD,
    "core/backprop-jax": {"optimizer": optax.sgd(1e-3)},
    "core/backprop-torch": SGD,
    "core/local": {"rule": "oja/oja"},
    "fastweights/gradient-write": {},
    "hopfield/prototype": {},
    "nrf/persistent-contrastive-divergence": BRIEF,
    "predictive-coding/predictive-coding": SGD,
    "ssn/implicit-gradient": {},
    "ssn/perceptual-learning": {"trained": ()},
}
DRIVES = np.random.default_rng(0).uniform(1, 5, (16, 2)).astype("float32")
TASKS = {
    "digits": bv.create("core/digits"),
    "drives": ArraySource(inputs=DRIVES, targets=2 * DRIVES),
    "photographs": ArraySource(inputs=photographs(64).batch(range(6))["inputs"]),
}
TRAINED = {
    "digits": {
        ("butd/backprop", "butd/conv"), ("butd/backprop", "butd/fc"),
        ("butd/counter-hebb", "butd/conv"), ("butd/counter-hebb", "butd/fc"),
        ("hopfield/prototype", "hopfield/memory"),
        ("nrf/persistent-contrastive-divergence", "nrf/field"),
    },
    "drives": {
        ("core/backprop-jax", "ssn/ring"), ("core/backprop-jax", "ssn/two-population"),
        ("core/local", "ssn/two-population"),
        ("ssn/implicit-gradient", "ssn/ring"), ("ssn/implicit-gradient", "ssn/two-population"),
    },
    "photographs": {("core/backprop-torch", "fastweights/vit-autoencoder")},
}  # fmt: skip


def test_every_registered_learning_rule_is_in_the_matrix() -> None:
    registered = {ref.name for ref in bv.list("rule") if not hasattr(ref.load(), "delta")}
    assert registered == RULES.keys()


@pytest.mark.slow
@pytest.mark.parametrize("task", TASKS)
def test_a_rule_trains_a_model_or_says_why_not(task: str) -> None:
    source, trained = TASKS[task], set()
    models, refused = bv.models_for(source)
    assert all(reasons and all(r.why for r in reasons) for reasons in refused.values())
    for rule, options in RULES.items():
        for name in models:
            try:
                fitted = bv.fit(
                    bv.for_task(name, source), bv.create(rule, kind="rule", **options), source,
                    steps=2, batch_size=4, seed=0,
                )  # fmt: skip
            except IncompatibleError:
                continue
            assert fitted.steps == 2
            trained.add((rule, name))
    assert trained == TRAINED[task]


def test_a_model_made_for_a_task_says_how_to_make_it_again(tmp_path: Path) -> None:
    model = bv.for_task("butd/fc", TASKS["digits"], hidden=[5])
    assert model.recipe.options == {"shape": (1, 8, 8), "classes": 10, "hidden": [5]}
    again = bv.load_model(bv.save_model(model, tmp_path / "fc.safetensors"))
    images = torch.rand(3, 1, 8, 8)
    assert (again(images) == model(images)).all()
