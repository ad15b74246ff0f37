"""Learning an energy."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
import torch
from bioviz_core.bridge.torch import AdaptedModel, TorchModel
from bioviz_core.errors import IncompatibleError, StoppedError
from bioviz_core.lab import rundir
from bioviz_core.lab.fit import Fitted, Progress, fit
from bioviz_core.lab.run import Run
from bioviz_core.stimuli.embedded import digits
from bioviz_core.stimuli.sources import ArraySource
from torch import Tensor, nn

RULE = "nrf/persistent-contrastive-divergence"
SHORT = {"steps": 5}


class MarkovField(TorchModel):
    """Fully visible and linear, hence a Gaussian: `x . (J + J^T) x / 4`."""

    def __init__(self) -> None:
        super().__init__()
        self.coupling = nn.Parameter(torch.eye(3) * 2)

    def forward(self, inputs: Tensor) -> Tensor:
        return inputs

    def states(self, inputs: Tensor, /) -> dict[str, Tensor]:
        return {"x": inputs}

    def energy(self, states: Any, /) -> Tensor:
        x = states["x"]
        return (x * (x @ self.precision)).sum(1) / 2

    @property
    def precision(self) -> Tensor:
        return (self.coupling + self.coupling.mT) / 2


@pytest.mark.slow
def test_the_precision_of_a_gaussian_markov_field_is_recovered() -> None:
    precision = np.array([[2.0, -0.8, 0.0], [-0.8, 1.5, 0.5], [0.0, 0.5, 1.0]])
    rng = np.random.default_rng(0)
    data = rng.multivariate_normal(np.zeros(3), np.linalg.inv(precision), size=20_000)
    source = ArraySource(inputs=data.astype(np.float32))
    phase = {"steps": 10, "step_size": 0.4}
    rule = bv.create(RULE, negative=phase, buffer_size=1000, penalty=0.0, lr=0.02)
    model = fit(MarkovField(), rule, source, steps=300, batch_size=500).model
    rule = bv.create(RULE, negative=phase, buffer_size=2000, penalty=0.0, lr=0.002)
    model = fit(model, rule, source, steps=200, batch_size=1000).model
    # The data's own precision is known to about 2 %; the steps of Adam jitter by its rate.
    assert np.abs(model.precision.detach().numpy() - precision).max() < 0.1


def fitted(run: Run | None = None, stop: int = 0, steps: int = 6) -> Fitted[Any, Any]:
    model = bv.create("nrf/field", seed=3)
    rule = bv.create(RULE, positive=SHORT, negative=SHORT, buffer_size=40)

    def after(progress: Progress[Any]) -> None:
        if run is not None:
            run.should_stop = progress.step == stop

    return fit(model, rule, digits("train"), steps=steps, batch_size=16, run=run, after=after)


@pytest.mark.slow
def test_stopped_and_resumed_it_ends_in_the_same_bytes(tmp_path: Path) -> None:
    straight, stopped = (rundir.create(tmp_path, "nrf/thing", {}) for _ in range(2))
    with Run(straight, seed=0, device="cpu") as run:
        wanted = fitted(run)
    with Run(stopped, seed=0, device="cpu") as run, pytest.raises(StoppedError):
        fitted(run, stop=4)
    with Run(stopped, seed=0, device="cpu") as run:
        found = fitted(run)
    assert found.history == wanted.history
    last = "checkpoints/fit/step-00000006.safetensors"
    assert (straight / last).read_bytes() == (stopped / last).read_bytes()


def test_chains_go_on_and_both_phases_are_at_their_temperature() -> None:
    history = fitted(steps=8).history
    assert history[0]["fresh_share"] == 1.0
    assert history[-1]["fresh_share"] < 1.0
    assert history[-1]["buffer_age"] > 1
    for row in history:
        assert 0 <= row["folded_negative"] < 1
        # 1088 units in 16 chains; the field's curvature and the fresh chains cost the rest.
        assert row["kinetic_temperature_negative"] == pytest.approx(1.0, abs=0.2)
        assert row["kinetic_temperature_positive"] == pytest.approx(1.0, abs=0.2)


def test_sampling_leaves_no_gradient_and_metrics_are_detached() -> None:
    model = bv.create("nrf/field")
    rule = bv.create(RULE, positive=SHORT, negative=SHORT, buffer_size=8)
    batch: bv.Batch = {"inputs": torch.from_numpy(digits().batch(range(4))["inputs"])}
    state = rule.init(model, batch, seed=0)
    before = model.state_tree()
    start = model.states(batch["inputs"])
    generator = torch.Generator().manual_seed(0)
    rule._negative(model, start, state["buffer"], generator)
    assert all(p.grad is None for p in model.parameters())
    metrics = rule.step(model, batch, state, seed=0).metrics
    for value in metrics.values():
        assert not isinstance(value, Tensor) or (value.dim() == 0 and not value.requires_grad)
    after = model.state_tree()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_data_are_held_in_the_positive_phase() -> None:
    model = bv.create("nrf/field")
    rule = bv.create(RULE, positive=SHORT, negative=SHORT)
    start = model.states(torch.from_numpy(digits().batch(range(4))["inputs"]))
    awake, info = rule._positive(model, start, torch.Generator().manual_seed(0))
    assert torch.equal(awake["image"], start["image"])
    assert not torch.equal(awake["latent1"], start["latent1"])
    assert info is not None


def test_what_cannot_be_trained_is_refused_with_a_reason() -> None:
    rule, source = bv.create(RULE), ArraySource(inputs=np.zeros((4, 2), np.float32))
    with pytest.raises(IncompatibleError) as caught:
        fit(AdaptedModel(nn.Linear(2, 2)), rule, source, steps=1, batch_size=2)
    assert [(r.kind, r.need) for r in caught.value.refusals] == [("capability", "Energetic")]
    frozen = MarkovField().requires_grad_(False)
    with pytest.raises(IncompatibleError, match="no trainable parameters"):
        rule.init(frozen, {"inputs": torch.zeros(2, 3)}, seed=0)
    with pytest.raises(ValueError, match="keep must be"):
        bv.create(RULE, keep=1.5)
    with pytest.raises(ValueError, match="penalty must be"):
        bv.create(RULE, penalty=-1.0)
    with pytest.raises(ValueError, match="steps must be"):
        bv.create(RULE, positive={"steps": -1})
