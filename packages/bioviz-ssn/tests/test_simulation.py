from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.models.network import Network
from bioviz_ssn.models.two_population import TwoPopulationSSN


def test_a_trajectory_ends_at_the_fixed_point(x64: None) -> None:
    model = TwoPopulationSSN.create()
    drive = jnp.array([[5.0, 5.0], [20.0, 20.0]])
    path = model.simulate(drive, steps=3000, dt=0.5)
    assert path.r.shape == (3001, 2, 2)
    assert float(path.times[-1]) == 1500
    np.testing.assert_allclose(path.r[-1], model(drive), rtol=1e-9)


def test_without_weights_rates_relax_exponentially(x64: None) -> None:
    network = Network.create([[0.0]], tau=10.0)
    path = network.simulate(jnp.array([5.0]), steps=1000, dt=0.01)
    expected = 0.04 * 25 * (1 - np.exp(-path.times / 10))
    np.testing.assert_allclose(path.r[:, 0], expected, atol=1e-3)


def test_a_drive_may_change_in_time(x64: None) -> None:
    network = Network.create([[0.0]], tau=10.0)
    path = network.simulate(lambda t: jnp.where(t < 50, 5.0, 0.0)[None], steps=200)
    assert float(path.r[50, 0]) > 0.9
    assert float(path.r[-1, 0]) < 1e-3


def test_steps_that_mean_nothing_are_refused() -> None:
    with pytest.raises(ParameterError, match="steps and dt"):
        Network.create([[0.0]]).simulate(jnp.zeros(1), steps=0)
