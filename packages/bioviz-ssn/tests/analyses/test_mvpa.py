from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.errors import DataError
from bioviz_ssn.analyses.mvpa import (
    Decoding,
    Mahalanobis,
    learning_modulation,
    left_out,
    mahalanobis,
    patterns,
    principal_components,
)


def trials(separation: float, *, count: int = 100, seed: int = 0) -> dict[str, np.ndarray]:
    """Rates of a 9 x 9 layer for two orientations whose patterns differ by a smooth gradient."""
    rng = np.random.default_rng(seed)
    labels = np.repeat([0, 55], count)
    gradient = np.tile(np.linspace(-1, 1, 9), 9)
    rates = 10 + rng.standard_normal((2 * count, 4, 2, 81))
    rates += separation * np.where(labels == 55, 1, 0)[:, None, None, None] * gradient
    return {"rates": rates, "labels": labels, "control": np.array(0)}


def test_patterns_weigh_and_smooth_a_point_as_published() -> None:
    rates = np.zeros((2, 4, 2, 81))
    rates[0, 1, 0, 40] = 1.0
    rates[1, 2, 1, 40] = 1.0
    seen = patterns(rates, np.random.default_rng(0), noise=0.0)
    np.testing.assert_allclose(seen[0], 4 * seen[1])  # 0.8 E to 0.2 I
    image = seen[0].reshape(5, 5)
    np.testing.assert_allclose(image[2, 3] / image[2, 2], np.exp(-1 / 8))
    np.testing.assert_allclose(image[1, 1] / image[2, 2], np.exp(-2 / 8))


def test_layers_without_phases_are_taken_too() -> None:
    rates = np.random.default_rng(0).random((3, 2, 81))
    alone = patterns(rates, np.random.default_rng(1))
    with_phase = patterns(rates[:, None], np.random.default_rng(1))
    np.testing.assert_array_equal(alone, with_phase)
    assert alone.shape == (3, 25)


def test_components_pass_seventy_percent_and_number_two_to_twenty() -> None:
    rng = np.random.default_rng(0)
    one = rng.standard_normal((200, 1)) * 10 @ rng.standard_normal((1, 25))
    assert principal_components(one + 0.1 * rng.standard_normal((200, 25))).shape == (200, 2)
    even = rng.standard_normal((4000, 25))
    # All directions alike: 18 of 25 carry just over 70 %.
    assert principal_components(even).shape[1] in (17, 18)
    assert principal_components(rng.standard_normal((4000, 40)) @ np.eye(40)).shape[1] == 20


def test_decoding_is_near_chance_without_a_difference_and_sure_with_a_large_one() -> None:
    nothing = Decoding()(trials(0.0)).scalars["accuracy"]
    # Ten halves of 100 trials share their data, so the error is that of 100 answers.
    assert abs(nothing - 0.5) < 3 * 0.5 / np.sqrt(100)
    assert Decoding()(trials(8.0)).scalars["accuracy"] > 0.97
    rising = [Decoding()(trials(s)).scalars["accuracy"] for s in (0.0, 1.5, 8.0)]
    assert rising == sorted(rising)


def test_decoding_repeats_itself() -> None:
    one, other = Decoding()(trials(1.0)), Decoding()(trials(1.0))
    np.testing.assert_array_equal(one.arrays["accuracies"], other.arrays["accuracies"])
    assert one.plot().has_data()


def test_mahalanobis_is_the_distance_in_standard_deviations() -> None:
    rng = np.random.default_rng(0)
    cloud = rng.standard_normal((20_000, 2)) * [2.0, 0.5] + [1.0, 3.0]
    found = mahalanobis(np.array([[5.0, 3.0], [1.0, 4.0]]), cloud)
    np.testing.assert_allclose(found, [2, 2], rtol=0.03)


def test_left_out_distances_are_those_of_a_chi_distribution() -> None:
    points = np.random.default_rng(0).standard_normal((400, 3))
    # E[chi] of three degrees of freedom.
    assert left_out(points).mean() == pytest.approx(2 * np.sqrt(2 / np.pi), rel=0.03)


def test_signal_to_noise_rises_with_separation() -> None:
    found = [Mahalanobis()(trials(s)).scalars["snr_55"] for s in (0.0, 3.0, 8.0)]
    assert found[0] == pytest.approx(1, abs=0.1)
    assert found == sorted(found)
    assert Mahalanobis()(trials(3.0)).plot().has_data()


def test_modulation_is_the_trained_gain_over_the_untrained() -> None:
    assert learning_modulation((1.0, 3.0), (1.0, 1.5)) == 1.5


def test_what_cannot_be_decoded_is_refused() -> None:
    data = trials(1.0, count=10)
    with pytest.raises(DataError, match="two classes"):
        Decoding()({**data, "labels": np.zeros(20)})
    with pytest.raises(DataError, match="control 90"):
        Mahalanobis()({**data, "control": np.array(90)})
    with pytest.raises(DataError, match="do not vary"):
        Decoding()({**data, "rates": np.zeros((20, 2, 81))})
    with pytest.raises(DataError, match="square grid"):
        Decoding()({**data, "rates": np.ones((20, 2, 80))})
    with pytest.raises(DataError, match="no covariance"):
        mahalanobis(np.zeros((1, 5)), np.zeros((4, 5)))
