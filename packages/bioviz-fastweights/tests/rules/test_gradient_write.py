"""The gradient rule, through the one training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bioviz_core as bv
import pytest
import torch
from bioviz_core.errors import IncompatibleError, StoppedError
from bioviz_core.lab import rundir
from bioviz_core.lab.fit import Fitted, Progress, fit
from bioviz_core.lab.run import Run
from bioviz_core.stimuli.embedded import photographs
from bioviz_core.stimuli.sources import ArraySource

RULE = "fastweights/gradient-write"


@pytest.fixture(scope="module")
def four() -> ArraySource:
    return ArraySource(inputs=photographs(64).batch(range(4))["inputs"])


def fitted(source: ArraySource, run: Run | None = None, stop: int = 0) -> Fitted[Any, Any]:
    model = bv.create("fastweights/vit-autoencoder", rank=4)

    def after(progress: Progress[Any]) -> None:
        if run is not None:
            run.should_stop = progress.step == stop

    return fit(model, bv.create(RULE, lr=1e-3), source, steps=5, batch_size=4, run=run, after=after)


def test_only_the_fast_weights_change_and_the_loss_falls(four: ArraySource) -> None:
    done = fitted(four)
    fresh = bv.create("fastweights/vit-autoencoder", rank=4).state_tree()
    changed = {n for n, v in done.model.state_tree().items() if not torch.equal(v, fresh[n])}
    assert changed
    assert all("lora_" in name for name in changed)
    assert done.history[-1]["loss"] < done.history[0]["loss"]


def test_after_a_reset_the_model_is_as_before_the_exposure(four: ArraySource) -> None:
    model = fitted(four).model
    pictures = torch.from_numpy(four.batch([0, 1])["inputs"])
    before = bv.create("fastweights/vit-autoencoder")(pictures)
    assert not torch.equal(model(pictures), before)
    model.fast_weights.reset()
    assert torch.equal(model(pictures), before)


@pytest.mark.slow
def test_stopped_and_resumed_it_ends_in_the_same_bytes(four: ArraySource, tmp_path: Path) -> None:
    straight, stopped = (rundir.create(tmp_path, "fastweights/thing", {}) for _ in range(2))
    with Run(straight, seed=0, device="cpu") as run:
        wanted = fitted(four, run)
    with Run(stopped, seed=0, device="cpu") as run, pytest.raises(StoppedError):
        fitted(four, run, stop=3)
    with Run(stopped, seed=0, device="cpu") as run:
        found = fitted(four, run)
    assert found.history == wanted.history
    last = "checkpoints/fit/step-00000005.safetensors"
    assert (straight / last).read_bytes() == (stopped / last).read_bytes()


def test_a_model_without_fast_weights_is_refused(four: ArraySource) -> None:
    model = bv.create("fastweights/vit-autoencoder")
    with pytest.raises(IncompatibleError) as caught:
        fit(model, bv.create(RULE), four, steps=1, batch_size=2)
    assert [(r.kind, r.need) for r in caught.value.refusals] == [("capability", "FastWeighted")]
    frozen = bv.create("fastweights/vit-autoencoder", rank=2).requires_grad_(False)
    with pytest.raises(IncompatibleError, match="no fast weights to train"):
        bv.create(RULE).init(frozen, {"inputs": torch.zeros(1, 3, 64, 64)}, seed=0)
    with pytest.raises(ValueError, match="lr must be positive"):
        bv.create(RULE, lr=0.0)


def test_metrics_are_detached_scalars() -> None:
    rule, model = bv.create(RULE), bv.create("fastweights/vit-autoencoder", rank=2)
    batch: bv.Batch = {"inputs": torch.rand(2, 3, 64, 64)}
    metrics = rule.step(model, batch, rule.init(model, batch, seed=0), seed=0).metrics
    assert metrics["loss"].dim() == 0
    assert not metrics["loss"].requires_grad
