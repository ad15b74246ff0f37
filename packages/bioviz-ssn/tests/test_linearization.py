from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.geometry import orientation_map
from bioviz_ssn.linearization import (
    jacobian,
    leading,
    slowest_rates,
    stability,
    stability_penalty,
    susceptibility,
)
from bioviz_ssn.models.network import Network
from bioviz_ssn.models.two_population import TwoPopulationSSN
from bioviz_ssn.models.v1_layers import SuperficialLayer
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.steady_state import fixed_point

MODEL = TwoPopulationSSN.create


def same_network(model: TwoPopulationSSN) -> Network:
    return Network.create(model.weights, tau=model.tau)


def test_susceptibility_is_the_slope_of_the_rates(x64: None) -> None:
    model, drive = MODEL(), jnp.array([12.0, 9.0])
    r = model(drive)
    measured = jax.jacrev(model)(drive)
    np.testing.assert_allclose(susceptibility(model, model.params, drive, r), measured, rtol=1e-9)
    step = 1e-6 * jnp.eye(2)
    by_hand = jnp.stack([(model(drive + e) - model(drive - e)) / 2e-6 for e in step], -1)
    np.testing.assert_allclose(measured, by_hand, rtol=1e-6)


@pytest.mark.parametrize(("c", "slope"), [(5.0, 0.2885), (10.0, -1.1702), (20.0, -11.35)])
def test_the_paradoxical_effect_begins_where_excitation_alone_is_unstable(
    c: float, slope: float, x64: None
) -> None:
    model, drive = MODEL(), jnp.array([c, c])
    r = model(drive)
    found = susceptibility(model, model.params, drive, r)[1, 1]
    assert float(found) == pytest.approx(slope, rel=5e-4)
    gain = model.law.gain(model.weights @ r + drive)
    assert np.sign(found) == np.sign(1 - gain[0] * model.weights[0, 0])


def test_pairs_and_networks_agree_on_jacobian_and_stability(x64: None) -> None:
    model = MODEL()
    network = same_network(model)
    drive = jnp.array([[2.0, 3.0], [20.0, 20.0]])
    r = model(drive)
    one, other = (jacobian(m, m.params, drive, r) for m in (model, network))
    np.testing.assert_allclose(one, other, rtol=1e-12)
    np.testing.assert_allclose(one, (jax.vmap(jnp.diag)(1 / r) * 0 + one))
    decays = [stability(m, m.params, drive, r) for m in (model, network)]
    np.testing.assert_allclose(*decays, rtol=1e-9)
    expected = -np.linalg.eigvals(np.asarray(one)).real.max(-1)
    np.testing.assert_allclose(decays[0], expected, rtol=1e-9)


@pytest.mark.parametrize("seed", range(6))
def test_the_leading_eigenvalue_and_its_slope_are_those_of_numpy(seed: int, x64: None) -> None:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(40, 40)) / 8 - np.eye(40)
    matrix[:, 20:] -= 0.05
    found, slope = jax.value_and_grad(leading)(jnp.asarray(matrix))
    assert float(found) == pytest.approx(np.linalg.eigvals(matrix).real.max(), rel=1e-4)
    direction = rng.normal(size=matrix.shape)
    ends = [np.linalg.eigvals(matrix + t * direction).real.max() for t in (1e-6, -1e-6)]
    assert float(jnp.sum(slope * direction)) == pytest.approx(np.diff(ends)[0] / -2e-6, rel=2e-2)


@pytest.mark.parametrize("seed", range(3))
def test_a_cluster_of_modes_does_not_mislead(seed: int, x64: None) -> None:
    # Damped oscillators, all alike but in frequency: no two of them lead.
    rng, n = np.random.default_rng(seed), 27
    turn = np.diag(0.1 * (1 + 0.3 * rng.normal(size=n)))
    matrix = np.block([[-0.06 * np.eye(n), -turn], [turn, -0.085 * np.eye(n)]])
    matrix += 1e-4 * rng.normal(size=matrix.shape)
    found, slope = jax.value_and_grad(leading)(jnp.asarray(matrix))
    assert float(found) == pytest.approx(np.linalg.eigvals(matrix).real.max(), abs=1e-3)
    # Moving every mode by the same amount moves the leading one by it.
    assert float(jnp.trace(slope)) == pytest.approx(1, abs=1e-6)


@pytest.mark.slow
def test_the_leading_eigenvalue_of_superficial_layers_is_found_in_float32() -> None:
    rng = np.random.default_rng(0)
    for _ in range(4):
        layer = SuperficialLayer.create(orientation_map(rng))
        j = [
            [rng.uniform(4, 4.8), -rng.uniform(1.2, 2)],
            [rng.uniform(4.6, 5.4), -rng.uniform(0.8, 1.6)],
        ]
        own = LayerParams.create(j, kappa=np.zeros((2, 2, 2)))
        params = SSNParams(LayerParams.create(j), own, *map(jnp.zeros, (2, 2, 25, ())))
        x = jnp.asarray(rng.uniform(20, 120, (5, 81)), jnp.float32)
        fp = fixed_point(layer, params, x, throw=True)
        gain = layer.law.gain(layer.system(params, x).inputs(fp.r)).mean(0)
        weights = layer.system(params, x).weights
        matrix = np.asarray((gain[:, None] * weights - np.eye(162)) / layer.tau[:, None], float)
        expected = -np.linalg.eigvals(matrix).real.max()
        assert float(slowest_rates(layer, params, x, fp)) == pytest.approx(expected, rel=1e-2)


def test_the_penalty_is_zero_when_damped_and_pushes_slow_modes_away(x64: None) -> None:
    model = MODEL()
    drive = jnp.array([[10.0, 10.0]])

    def penalty(params: jax.Array, slowest: float) -> jax.Array:
        return stability_penalty(
            model, params, drive, model.fixed_point(params, drive), slowest=slowest
        )

    assert float(penalty(model.params, 0.001)) == 0
    value, slope = jax.value_and_grad(penalty)(model.params, 0.2)
    assert float(value) > 0
    assert float(penalty(model.params - 1e-2 * slope, 0.2)) < float(value)
    network = same_network(model)
    fp = network.fixed_point(network.params, drive)
    same = stability_penalty(network, network.params, drive, fp, slowest=0.2)
    assert float(same) == pytest.approx(float(value), rel=1e-9)


def test_the_penalty_and_its_slope_under_vmap_are_those_of_a_loop(x64: None) -> None:
    rng = np.random.default_rng(0)
    mean = np.kron([[1.25, -0.65], [1.2, -0.5]], np.full((3, 3), 1 / 3))
    rows = jnp.asarray(mean * rng.uniform(0.6, 1.4, (4, 6, 6)))
    network = Network.create(rows[0], tau=[20.0] * 3 + [10.0] * 3)
    drive = jnp.asarray(rng.uniform(4, 9, (3, 6)))

    @jax.value_and_grad
    def penalty(weights: jax.Array) -> jax.Array:
        return stability_penalty(
            network, weights, drive, network.fixed_point(weights, drive), slowest=0.2
        )

    found, slopes = jax.jit(jax.vmap(penalty))(rows)
    one = jax.jit(penalty)
    for row, value, slope in zip(rows, found, slopes, strict=True):
        alone, own = one(row)
        assert float(value) > 0
        # Within what `leading` promises; the last directions of its iteration are rounding.
        np.testing.assert_allclose(value, alone, rtol=1e-3)
        assert float(jnp.linalg.norm(slope - own) / jnp.linalg.norm(own)) < 1e-2
