from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.analyses.population import Population, participation_ratio, sparseness
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Analysis
from hypothesis import given, settings
from hypothesis import strategies as st


def test_one_responder_is_1_and_equal_response_0() -> None:
    np.testing.assert_allclose(sparseness([[0, 0, 7.0, 0], [2, 2, 2, 2]]), [1, 0], atol=1e-12)


def test_k_equal_responders_of_n_have_the_closed_form() -> None:
    # a = (k/n)^2 / (k/n) = k/n
    x = np.zeros((1, 10))
    x[0, :3] = 4
    assert sparseness(x)[0] == pytest.approx((1 - 0.3) / (1 - 0.1))


def test_exponential_rates_have_sparseness_one_half() -> None:
    # E[r]^2 / E[r^2] = 1/2 for an exponential law
    x = np.random.default_rng(0).exponential(size=200_000)
    assert sparseness(x) == pytest.approx(0.5, abs=0.01)


def test_lifetime_sparseness_runs_along_the_samples() -> None:
    x = np.array([[1.0, 2], [0, 2], [0, 2]])
    np.testing.assert_allclose(sparseness(x, axis=0), [1, 0], atol=1e-12)


def test_sparseness_of_silence_and_of_one_unit_is_unknown() -> None:
    assert np.isnan(sparseness(np.zeros((2, 5)))).all()
    assert np.isnan(sparseness(np.ones((2, 1)))).all()


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.floats(-1e30, 1e30, allow_subnormal=False).filter(lambda v: v == 0 or abs(v) > 1e-30),
        min_size=2,
        max_size=20,
    )
)
def test_sparseness_never_leaves_0_to_1_whatever_the_signs(values: list[float]) -> None:
    found = sparseness(values)
    assert np.isnan(found) or -1e-12 <= found <= 1 + 1e-12


def test_participation_ratio_of_known_spectra() -> None:
    # Columns that are orthogonal and centred: the spectrum is their squared length.
    hadamard = np.array([[1, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]], float)
    assert participation_ratio(hadamard) == pytest.approx(3)
    assert participation_ratio(hadamard * [1, 0, 0]) == pytest.approx(1)
    assert participation_ratio(hadamard * [2, 1, 1] + 9) == pytest.approx(36 / 18)


def test_participation_ratio_is_that_of_the_covariance_wide_or_tall() -> None:
    for shape in [(7, 30), (30, 7)]:
        x = np.random.default_rng(1).normal(size=shape)
        e = np.linalg.eigvalsh(np.cov(x.T))
        assert participation_ratio(x) == pytest.approx(e.sum() ** 2 / (e**2).sum())


def test_population_reports_its_numbers_and_arrays() -> None:
    assert isinstance(Population(), Analysis)
    x = np.array([[0.0, 3, 1], [2, 0, -4]])
    result = Population()({"activations": x})
    assert result.scalars["mean_response"] == pytest.approx(10 / 6)
    assert result.scalars["active_share"] == pytest.approx(4 / 6)
    np.testing.assert_allclose(result.arrays["response_by_rank"], [3.5, 1.5, 0])
    assert result.notes == ()
    assert len(result.plot().lines[0].get_ydata()) == 3


def test_a_silent_layer_gives_nan_and_notes() -> None:
    result = Population()({"activations": np.zeros((4, 3))})
    assert np.isnan(result.scalars["sparseness"])
    assert np.isnan(result.scalars["participation_ratio"])
    assert result.scalars["mean_response"] == 0
    assert len(result.notes) == 2


def test_silent_samples_are_left_out_and_counted() -> None:
    result = Population()({"activations": np.array([[0.0, 0], [0, 1]])})
    assert result.scalars["sparseness"] == 1
    assert result.notes == ("1 of 2 samples evoke no response",)


def test_one_sample_is_refused() -> None:
    with pytest.raises(DataError, match="at least 2 samples"):
        Population()({"activations": np.ones((1, 3))})
