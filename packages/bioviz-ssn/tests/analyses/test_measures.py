from __future__ import annotations

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_core.interfaces import Result
from bioviz_ssn.analyses.contrast import contrast_response
from bioviz_ssn.analyses.operating_point import operating_point, steady_rates
from bioviz_ssn.analyses.paradoxical import paradoxical_scan
from bioviz_ssn.analyses.plaids import plaid_weights, summation
from bioviz_ssn.analyses.size import size_tuning, suppression
from bioviz_ssn.errors import FixedPointError, ParameterError
from bioviz_ssn.linearization import stability, susceptibility
from bioviz_ssn.models.network import Network
from bioviz_ssn.models.ring import RingSSN
from bioviz_ssn.models.two_population import TwoPopulationSSN

TWO_CELLS = [
    [0.177119, 0.180191],
    [1.322784, 1.389019],
    [7.817065, 8.910498],
    [39.481305, 58.360855],
    [65.360110, 125.042058],
]
CONTRASTS = (2.0, 5.0, 10.0, 20.0, 40.0)


@pytest.fixture(scope="module", autouse=True)
def _x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.fixture(scope="module")
def pair() -> TwoPopulationSSN:
    return TwoPopulationSSN.create()


@pytest.fixture(scope="module")
def ring() -> RingSSN:
    return RingSSN.create()


@pytest.fixture(scope="module")
def plaid(ring: RingSSN) -> Result:
    components = np.stack([ring.grating(1.0, 45.0), ring.grating(1.0, 135.0)])
    return plaid_weights(ring, ring.params, components)


def test_two_cells_have_their_published_rates(pair: TwoPopulationSSN) -> None:
    drives = np.repeat(np.array(CONTRASTS)[:, None], 2, axis=1)
    np.testing.assert_allclose(steady_rates(pair, pair.params, drives), TWO_CELLS, atol=5e-6)


def test_ring_has_its_published_peaks_and_plaid_weights(plaid: Result) -> None:
    peaks = plaid.arrays["rates"][:, 0, :180].max(-1)
    known = [0.188842, 1.663696, 11.737549, 24.042246, 35.126645]
    np.testing.assert_allclose(peaks, known, atol=5e-6)
    weights = [1.211, 1.538, 0.868, 0.695, 0.682]
    np.testing.assert_allclose(plaid.arrays["weights"], weights, atol=1e-3)
    assert (plaid.arrays["explained"] > 0.9).all()


def test_without_recurrence_summation_does_not_depend_on_contrast(ring: RingSSN) -> None:
    silent = Network.create(np.zeros((360, 360)))
    components = np.stack([ring.grating(1.0, 45.0), ring.grating(1.0, 135.0)])
    found = plaid_weights(silent, silent.params, components, contrasts=(2.0, 40.0))
    np.testing.assert_allclose(found.arrays["weights"], 1.125, atol=1e-3)


def test_summation_is_a_least_squares_weight() -> None:
    total = np.random.default_rng(0).random((3, 20))
    weight, explained = summation(total, 0.7 * total)
    np.testing.assert_allclose(weight, 0.7)
    np.testing.assert_allclose(explained, 1)


def test_exponents_are_the_power_without_recurrence_and_cross_with_it(
    pair: TwoPopulationSSN,
) -> None:
    alone = Network.create(np.zeros((360, 360)))
    found = contrast_response(alone, alone.params, np.ones(360), contrasts=CONTRASTS)
    np.testing.assert_allclose(found.arrays["exponents"], 2, atol=1e-6)
    assert np.isnan(found.scalars["crossing_E"])
    found = contrast_response(pair, pair.params, [1.0, 1.0])
    c, e = found.arrays["contrasts"], found.arrays["exponents"][:, 0]
    assert found.scalars["peak_exponent_E"] > 2.5
    crossing = found.scalars["crossing_E"]
    assert (e[c > 1.1 * crossing] < 1).all()
    # At the crossing the response is linear, but for the interpolation between contrasts.
    around = crossing * np.array([0.999, 1.001])
    r = steady_rates(pair, pair.params, around[:, None] * np.ones(2))[:, 0]
    assert np.log(r[1] / r[0]) / np.log(around[1] / around[0]) == pytest.approx(1, abs=5e-3)


def test_exponents_are_those_of_finite_differences(pair: TwoPopulationSSN) -> None:
    c = np.geomspace(9.99, 10.01, 3)
    found = contrast_response(pair, pair.params, [1.0, 1.0], contrasts=c)
    log = np.log(found.arrays["rates"])
    slope = (log[2] - log[0]) / np.log(c[2] / c[0])
    np.testing.assert_allclose(found.arrays["exponents"][1], slope, rtol=1e-5)


def test_weak_drive_gives_the_feedforward_power_law(pair: TwoPopulationSSN) -> None:
    found = contrast_response(pair, pair.params, [1.0, 1.0], contrasts=(1e-4, 2e-4, 4e-4))
    np.testing.assert_allclose(found.arrays["exponents"], 2, atol=1e-3)


def test_paradoxical_slope_flips_where_excitation_alone_runs_away(pair: TwoPopulationSSN) -> None:
    drives = np.repeat(np.linspace(0.2, 40, 200)[:, None], 2, axis=1)
    found = paradoxical_scan(pair, pair.params, drives)
    slope, gain = found.arrays["inhibitory_slope"], found.arrays["excitatory_gain"]
    np.testing.assert_array_equal(np.sign(slope), np.sign(1 - gain))
    assert 0 < found.scalars["paradoxical"] < 1


def test_paradoxical_slope_is_the_susceptibility(pair: TwoPopulationSSN) -> None:
    drives = jnp.array([[5.0, 5.0], [10.0, 10.0], [20.0, 20.0]])
    found = paradoxical_scan(pair, pair.params, drives)
    r = jnp.asarray(found.arrays["rates"])
    exact = susceptibility(pair, pair.params, drives, r)
    np.testing.assert_allclose(found.arrays["inhibitory_slope"], exact[:, 1, 1], rtol=1e-5)
    np.testing.assert_allclose(found.arrays["excitatory_slope"], exact[:, 0, 1], rtol=1e-5)
    known = [0.2885, -1.1702, -11.35]
    np.testing.assert_allclose(found.arrays["inhibitory_slope"], known, rtol=1e-3)


def test_differences_are_refused_in_float32() -> None:
    with jax.enable_x64(False):
        model = TwoPopulationSSN.create()
        with pytest.raises(ParameterError, match="float64"):
            paradoxical_scan(model, model.params, [[5.0, 5.0]])


def test_operating_point_agrees_with_the_linearization(pair: TwoPopulationSSN) -> None:
    drives = jnp.array([[5.0, 5.0], [20.0, 20.0]])
    found = operating_point(pair, pair.params, drives)
    r = jnp.asarray(found.arrays["rates"])
    np.testing.assert_allclose(found.arrays["decay"], stability(pair, pair.params, drives, r))
    # s = n k u with u = sqrt(r / k).
    gain = 2 * 0.04 * np.sqrt(np.asarray(r) / 0.04)
    np.testing.assert_allclose(found.arrays["gain"], gain)
    np.testing.assert_allclose(found.arrays["excitatory_gain"], 1.25 * gain[:, 0])
    assert (np.diff(found.arrays["eigenvalues"].real, axis=-1) <= 1e-12).all()


def test_rates_of_large_networks_are_steady(ring: RingSSN, plaid: Result) -> None:
    rates, c = plaid.arrays["rates"], plaid.arrays["contrasts"]
    a, b = (np.asarray(ring.grating(c, angle)) for angle in (45.0, 135.0))
    weights = np.asarray(ring.system(ring.params, jnp.asarray(a)).weights)
    u = rates @ weights.T + np.stack([a, b, a + b], 1)
    np.testing.assert_allclose(0.04 * np.maximum(u, 0) ** 2, rates, atol=1e-10)


def test_runaway_is_an_error_and_not_a_rate() -> None:
    model = TwoPopulationSSN.create([[2.0, -0.1], [0.1, -0.1]])
    with pytest.raises(FixedPointError, match="did not converge"):
        steady_rates(model, model.params, np.array([[20.0, 0.0]]))


def test_size_tuning_finds_peak_and_suppression() -> None:
    # Without recurrence rates are phi(h): the drive's own shape is the tuning.
    model = Network.create(np.zeros((360, 360)))
    drives = np.zeros((3, 360))
    drives[:, :2] = np.sqrt(np.array([[1.0, 1.0], [4.0, 2.0], [3.0, 3.0]]) / 0.04)
    found = size_tuning(model, model.params, drives, (1.0, 2.0, 4.0), cells=(0, 1))
    assert found.scalars["suppression_E"] == pytest.approx(0.25)
    assert found.scalars["preferred_E"] == 2
    assert found.scalars["suppression_I"] == pytest.approx(0)
    assert found.scalars["preferred_I"] == 4
    assert suppression(np.zeros((3, 1)))[0] == 0


def test_wrong_input_is_refused(pair: TwoPopulationSSN) -> None:
    with pytest.raises(ParameterError, match="rising"):
        contrast_response(pair, pair.params, [1.0, 1.0], contrasts=(3.0, 2.0, 1.0))
    with pytest.raises(ParameterError, match="silent"):
        contrast_response(pair, pair.params, [-1.0, -1.0])
    with pytest.raises(ParameterError, match="components"):
        plaid_weights(pair, pair.params, [1.0, 1.0])
    with pytest.raises(ParameterError, match="rising sizes"):
        size_tuning(pair, pair.params, [[1.0, 1.0]], [1.0], cells=(0, 1))


def test_every_measure_draws_itself(pair: TwoPopulationSSN, plaid: Result) -> None:
    results = [
        plaid,
        contrast_response(pair, pair.params, [1.0, 1.0]),
        paradoxical_scan(pair, pair.params, [[5.0, 5.0], [20.0, 20.0]]),
        operating_point(pair, pair.params, [[5.0, 5.0]]),
        size_tuning(pair, pair.params, [[1.0, 1.0], [2.0, 2.0]], [1.0, 2.0], cells=(0, 1)),
    ]
    for result in results:
        ax = result.plot()
        assert ax.get_xlabel()
        assert ax.has_data()
