from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.analyses.tuning import (
    ClassSelectivity,
    OrientationTuning,
    class_selectivity,
    orientation_tuning,
)
from bioviz_core.errors import DataError
from scipy import stats
from scipy.special import i0, i1

TURN = np.arange(0, 360, 15.0)
HALF = np.arange(0, 180, 15.0)


def cosine(angles: np.ndarray, *, cycles: int, preferred: float, gain: float = 1.0) -> np.ndarray:
    return 2 + gain * np.cos(np.deg2rad(cycles * (angles - preferred)))[:, None]


@pytest.mark.parametrize("preferred", [0.0, 40.0, 179.0])
def test_a_cosine_of_the_double_angle_is_orientation_tuning(preferred: float) -> None:
    found = orientation_tuning(TURN, cosine(TURN, cycles=2, preferred=preferred, gain=0.7))
    assert found.preferred_orientation[0] == pytest.approx(preferred, abs=1e-6)
    assert found.amplitude[:, 0] == pytest.approx([0, 0.7], abs=1e-12)
    assert found.r2[:, 0] == pytest.approx([0, 1], abs=1e-12)
    # sum (2 + g cos 2(t - p)) e^(2 i t) over n angles is n g / 2
    assert found.osi[0] == pytest.approx(0.7 / 2 / 2)
    assert found.dsi[0] == pytest.approx(0, abs=1e-12)
    assert found.fits_orientation[0]


def test_a_cosine_of_the_angle_is_direction_tuning() -> None:
    found = orientation_tuning(TURN, cosine(TURN, cycles=1, preferred=300))
    assert found.preferred_direction[0] == pytest.approx(300)
    assert found.dsi[0] == pytest.approx(0.25)
    assert not found.fits_orientation[0]


def test_a_von_mises_unit_has_the_bessel_ratio() -> None:
    kappa = 1.7
    r = np.exp(kappa * np.cos(np.deg2rad(TURN - 75)))[:, None]
    assert orientation_tuning(TURN, r).dsi[0] == pytest.approx(i1(kappa) / i0(kappa), rel=1e-9)


def test_one_angle_alone_gives_an_index_of_one() -> None:
    r = np.zeros((12, 1))
    r[4] = 3
    found = orientation_tuning(HALF, r)
    assert found.osi[0] == pytest.approx(1)
    assert found.preferred_orientation[0] == pytest.approx(60)


def test_half_a_turn_has_no_direction() -> None:
    found = orientation_tuning(HALF, cosine(HALF, cycles=2, preferred=30))
    assert found.preferred_orientation[0] == pytest.approx(30)
    assert np.isnan([found.dsi[0], found.preferred_direction[0], found.r2[0, 0]]).all()
    assert found.fits_orientation[0]


def test_the_f_test_is_that_of_linear_regression() -> None:
    rng = np.random.default_rng(0)
    angles = np.repeat(HALF, 3)
    r = cosine(angles, cycles=2, preferred=50, gain=0.4) + rng.normal(size=(36, 1))
    theta = 2 * np.deg2rad(angles)
    design = np.stack([np.ones(36), np.cos(theta), np.sin(theta)], 1)
    left = np.sum((r - design @ np.linalg.lstsq(design, r, rcond=None)[0]) ** 2)
    f = (np.sum((r - r.mean()) ** 2) - left) / 2 / (left / 33)
    assert orientation_tuning(angles, r).p_value[0] == pytest.approx(stats.f.sf(f, 2, 33))


def test_untuned_units_pass_the_f_test_as_often_as_chance() -> None:
    r = np.random.default_rng(1).normal(5, 1, size=(24, 2000))
    found = orientation_tuning(np.tile(HALF, 2), r)
    assert (found.p_value < 0.05).mean() == pytest.approx(0.05, abs=0.02)


def test_turning_the_stimuli_turns_the_preference() -> None:
    r = np.random.default_rng(2).uniform(size=(24, 6))
    here, there = orientation_tuning(TURN, r), orientation_tuning(TURN + 30, r)
    shift = (there.preferred_orientation - here.preferred_orientation) % 180
    np.testing.assert_allclose(shift, 30, atol=1e-6)
    np.testing.assert_allclose(there.osi, here.osi)


def test_repeats_are_averaged_whatever_their_order() -> None:
    r = np.random.default_rng(3).uniform(size=(24, 2))
    order = np.random.default_rng(4).permutation(48)
    doubled = np.concatenate([r + 0.1, r - 0.1])[order]
    found = orientation_tuning(np.tile(TURN, 2)[order], doubled)
    np.testing.assert_allclose(found.curves, r)
    np.testing.assert_allclose(found.osi, orientation_tuning(TURN, r).osi)


def test_silent_and_negative_units_have_no_index_and_a_note() -> None:
    r = np.zeros((24, 3))
    r[:, 1] = np.cos(np.deg2rad(2 * TURN))
    r[:, 2] = cosine(TURN, cycles=2, preferred=90)[:, 0]
    found = orientation_tuning(TURN, r)
    assert np.isnan(found.osi).tolist() == [True, True, False]
    assert found.amplitude[1, 1] == pytest.approx(1)
    result = OrientationTuning()({"activations": r, "orientation": TURN})
    assert result.scalars["osi"] == pytest.approx(0.25)
    assert result.scalars["tuned_share"] == pytest.approx(2 / 3)
    assert "2 of 3 units are silent or not rates" in result.notes[0]
    assert result.plot().lines


def test_uneven_angles_are_refused() -> None:
    with pytest.raises(DataError, match="evenly spread"):
        orientation_tuning([0, 10, 20, 90, 100], np.ones((5, 1)))
    with pytest.raises(DataError, match="one value for each response"):
        orientation_tuning(TURN[:-1], np.ones((24, 1)))


def test_class_selectivity_of_known_units() -> None:
    labels = ["cat", "cat", "dog", "owl"]
    r = np.array([[4.0, 1, 0, 3], [2, 1, 0, 3], [0, 1, 0, 1], [0, 1, 0, -5]])
    index, preferred = class_selectivity(labels, r)
    # best 3, rest 0; alike; silent; best 5 (its size), rest (3 + 1) / 2
    np.testing.assert_allclose(index, [1, 0, np.nan, 3 / 7])
    assert preferred[0] == "cat"
    assert preferred[3] == "owl"
    result = ClassSelectivity()({"activations": r, "labels": np.array([0, 0, 1, 2])})
    assert result.scalars["selectivity"] == pytest.approx((1 + 3 / 7) / 3)
    assert result.notes == ("1 of 4 units never respond",)
    with pytest.raises(DataError, match="two classes"):
        class_selectivity([0, 0, 0, 0], r)
