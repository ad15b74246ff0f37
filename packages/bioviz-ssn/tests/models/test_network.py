from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_core.interfaces import HasObjective, Model, Synaptic
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.models.network import Network
from bioviz_ssn.models.ring import RingSSN
from bioviz_ssn.models.two_population import TwoPopulationSSN

W = np.array([[1.25, -0.65], [1.2, -0.5]])


def test_every_network_is_a_model_of_core_with_an_objective() -> None:
    for model in (Network.create(W), TwoPopulationSSN.create(W), RingSSN.create(points=3)):
        assert isinstance(model, Model)
        assert isinstance(model, HasObjective)
        assert len(repr(type(model))) < 200
    assert not isinstance(RingSSN.create(points=3), Synaptic)


@pytest.mark.parametrize("make", [Network.create, TwoPopulationSSN.create])
def test_synapses_are_the_weights_between_steady_rates(make, x64: None) -> None:  # type: ignore[no-untyped-def]
    model = make(W)
    assert isinstance(model, Synaptic)
    drive = jnp.array([[5.0, 5.0], [10.0, 10.0]])
    synapse = model.synapses(drive)["recurrent"]
    np.testing.assert_allclose(synapse.weight, W, rtol=1e-14)
    np.testing.assert_allclose(synapse.post, model(drive))
    moved = model.nudge({"recurrent": jnp.full((2, 2), 0.01)})
    np.testing.assert_allclose(moved.synapses(drive)["recurrent"].weight, W + 0.01, rtol=1e-12)
    still = model.nudge({"recurrent": jnp.zeros((2, 2))})
    np.testing.assert_array_equal(still.params, model.params)


def test_a_nudge_never_turns_a_sign_of_two_populations() -> None:
    model = TwoPopulationSSN.create(W).nudge({"recurrent": jnp.full((2, 2), -5.0)})
    assert np.sign(model.weights).tolist() == [[1, -1], [1, -1]]


@pytest.mark.parametrize(
    ("weights", "options", "match"),
    [
        (np.zeros((2, 3)), {}, "must be square"),
        (W, {"tau": 0.0}, "tau must be positive"),
        (W, {"tau": [1.0, 2.0, 3.0]}, "tau must be one number or 2"),
        (W, {"n": 0.5}, "n must be at least 1"),
        (W, {"k": 0.0}, "k must be positive"),
    ],
)
def test_settings_without_a_meaning_are_refused(
    weights: np.ndarray, options: dict[str, object], match: str
) -> None:
    with pytest.raises(ParameterError, match=match):
        Network.create(weights, **options)  # type: ignore[arg-type]
