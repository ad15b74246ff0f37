"""The prototype rule, through the one training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
import torch
from bioviz_core.bridge.torch import AdaptedModel
from bioviz_core.errors import IncompatibleError, StoppedError
from bioviz_core.lab import rundir
from bioviz_core.lab.fit import Fitted, Progress, fit
from bioviz_core.lab.run import Run
from bioviz_core.stimuli.embedded import digits
from bioviz_core.stimuli.sources import ArraySource


def fitted(run: Run | None = None, stop: int = 0, **how: Any) -> Fitted[Any, Any]:
    model = bv.create("hopfield/memory", num_classes=10, key_dim=64)

    def after(progress: Progress[Any]) -> None:
        if run is not None:
            run.should_stop = progress.step == stop

    how = {"steps": 12, "batch_size": 60} | how
    return fit(model, bv.create("hopfield/prototype"), digits("train"), run=run, after=after, **how)


def test_prototypes_of_pixels_recognize_unseen_digits() -> None:
    model, test = fitted(steps=23).model, digits("test").batch(range(360))
    answers = model.predict(torch.from_numpy(test["inputs"]))
    assert (answers.numpy() == test["labels"]).mean() > 0.8


@pytest.mark.slow
def test_one_pass_in_any_batches_gives_the_class_means() -> None:
    source = digits("train")
    every = source.batch(range(len(source)))
    images, labels = every["inputs"].reshape(-1, 64), every["labels"]
    means = np.stack([images[labels == c].mean(0, dtype=np.float64) for c in range(10)])
    # 1437 = 3 * 479, so that neither leaves a sample over.
    for size in (3, 479):
        store = fitted(steps=1437 // size, batch_size=size).model.store
        found = store.keys[store.labels.argsort()].numpy()
        assert np.abs(found - means).max() < 1e-12
        assert store.write_count.sum() == 1437


def test_stopped_and_resumed_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    straight, stopped = (rundir.create(tmp_path, "hopfield/thing", {}) for _ in range(2))
    with Run(straight, seed=0, device="cpu") as run:
        wanted = fitted(run)
    with Run(stopped, seed=0, device="cpu") as run, pytest.raises(StoppedError):
        fitted(run, stop=5)
    with Run(stopped, seed=0, device="cpu") as run:
        found = fitted(run)
    assert found.history == wanted.history
    last = "checkpoints/fit/step-00000012.safetensors"
    assert (straight / last).read_bytes() == (stopped / last).read_bytes()


def test_metrics_are_detached_scalars() -> None:
    rule, model = (
        bv.create("hopfield/prototype"),
        bv.create("hopfield/memory", num_classes=2, key_dim=3),
    )
    batch: bv.Batch = {"inputs": torch.eye(3), "labels": torch.tensor([0, 0, 1])}
    metrics = rule.step(model, batch, rule.init(model, batch, seed=0), seed=0).metrics
    for value in metrics.values():
        assert value.dim() == 0
        assert not value.requires_grad


def test_a_model_without_a_memory_and_a_source_without_labels_are_refused() -> None:
    source = ArraySource(inputs=np.zeros((4, 2), np.float32))
    model = AdaptedModel(torch.nn.Linear(2, 2))
    with pytest.raises(IncompatibleError) as caught:
        fit(model, bv.create("hopfield/prototype"), source, steps=1, batch_size=2)
    assert [(r.kind, r.need) for r in caught.value.refusals] == [
        ("capability", "HasMemory"),
        ("data", "labels"),
    ]
