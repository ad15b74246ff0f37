from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import optax
import pytest
from bioviz_core.bridge.jax import Backprop, as_model
from bioviz_core.errors import IncompatibleError
from bioviz_core.lab.checkpoint import load_tree, save_tree
from bioviz_core.lab.fit import fit
from bioviz_core.stimuli.sources import ArraySource
from bioviz_ssn.models.network import Network
from bioviz_ssn.models.ring import RingSSN
from bioviz_ssn.models.two_population import TwoPopulationSSN
from bioviz_ssn.rules.implicit_gradient import ImplicitGradient


def teacher(model: Any) -> ArraySource:
    """Inputs and the rates of a network with a stronger inhibition."""
    rng = np.random.default_rng(0)
    if isinstance(model, RingSSN):
        drive = np.asarray(model.grating(rng.uniform(2, 15, 12), rng.uniform(0, 180, 12)))
    else:
        drive = rng.uniform(2, 8, (12, 2)).astype(np.float32)
    better = model.with_state(model.state_tree() + np.array([[0, 0.1], [0, 0.1]], np.float32))
    return ArraySource(inputs=drive, targets=np.asarray(better(drive)))


@pytest.mark.parametrize("rule", [ImplicitGradient(0.02), Backprop(optax.adam(0.02))])
def test_a_pair_learns_the_rates_of_another(rule: Any) -> None:
    model = TwoPopulationSSN.create()
    fitted = fit(model, rule, teacher(model), steps=80, batch_size=12)
    losses = [row["loss"] for row in fitted.history]
    assert losses[-1] < 0.1 * losses[0]
    assert np.sign(fitted.model.weights).tolist() == [[1, -1], [1, -1]]


@pytest.mark.slow
def test_a_ring_learns_the_rates_of_another() -> None:
    model = RingSSN.create(points=20, weights=9 * np.array([[0.044, -0.023], [0.042, -0.018]]))
    fitted = fit(model, ImplicitGradient(0.02), teacher(model), steps=40, batch_size=12)
    losses = [row["objective"] for row in fitted.history]
    assert losses[-1] < 0.2 * losses[0]
    assert all(row["n_unconverged"] == 0 for row in fitted.history)


def test_inputs_without_a_steady_state_are_counted_and_leave_the_model_finite() -> None:
    model = Network.create([[1.0]])
    source = ArraySource(
        inputs=np.array([[1.0], [50.0]], np.float32), targets=np.ones((2, 1), np.float32)
    )
    fitted = fit(model, ImplicitGradient(1e-3), source, steps=3, batch_size=2)
    assert [row["n_unconverged"] for row in fitted.history] == [1, 1, 1]
    assert np.isfinite(fitted.model.params).all()


def test_a_model_without_a_steady_state_is_refused() -> None:
    plain = as_model(lambda params, x: x * params, np.ones(2, np.float32))
    source = teacher(TwoPopulationSSN.create())
    with pytest.raises(IncompatibleError, match="system"):
        fit(plain, ImplicitGradient(), source, steps=1, batch_size=2)


def test_a_checkpoint_gives_back_model_and_optimizer_bit_for_bit(tmp_path: Path) -> None:
    model, rule = TwoPopulationSSN.create(), ImplicitGradient(0.02)
    fitted = fit(model, rule, teacher(model), steps=3, batch_size=12, seed=1)
    tree = {"model": fitted.model, "rule": fitted.state}
    save_tree(tmp_path / "half.safetensors", tree)
    like = {"model": model, "rule": rule.init(model, {}, seed=0)}
    back = load_tree(tmp_path / "half.safetensors", like=like)
    for one, other in zip(jax.tree.leaves(tree), jax.tree.leaves(back), strict=True):
        assert one.dtype == other.dtype
        np.testing.assert_array_equal(one, other)
