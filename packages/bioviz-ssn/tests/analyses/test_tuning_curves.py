from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_core.errors import DataError
from bioviz_ssn.analyses.tuning_curves import TuningFeatures, features, tuning_curves
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.stimuli import StimulusSpec, grating

ANGLES = np.arange(0.0, 360, 5)
GRID = GridSpec(3, 1.6)
PREFERRED = np.array([0.0, 20, 40, 60, 80, 100, 120, 140, 160])


@pytest.fixture(scope="module")
def model() -> TwoLayerSSN:
    spec = StimulusSpec(half_width=1.6, resolution=20.0)
    params = SSNParams(
        LayerParams.create([[4.4, -1.66], [5.0, -1.24]]),
        LayerParams.create([[4.3, -1.5], [5.0, -1.2]], kappa=np.zeros((2, 2, 2))),
        jnp.log(jnp.array([0.9, 0.8])),
        jnp.zeros(2),
        jnp.zeros(9),
        jnp.zeros(()),
    )
    bank = GaborBank.create(PREFERRED, (0.35, 0.2), GRID, spec)
    return TwoLayerSSN.create(params, PREFERRED, bank=bank, grid=GRID, readout_side=3)


@pytest.mark.slow
def test_curves_are_those_of_the_images_and_use_the_kappas(model: TwoLayerSSN) -> None:
    angles = np.arange(0.0, 360, 45)
    found = tuning_curves(model, model.params, orientations=angles)
    middle = found.arrays["middle"].reshape(8, 4, 2, 9)
    superficial = found.arrays["superficial"].reshape(8, 2, 9)
    k = 2
    x, y = (axis.ravel()[k] / 2 for axis in GRID.coordinates)
    shown = jnp.asarray(angles, jnp.float32)
    assert model.bank is not None
    for p in (0, 3):
        images = grating(
            shown, model.bank.spec, phase=p * np.pi / 2, center=(x, y), full_field=True
        )
        fp = model.fixed_point(model.params, images)
        own = np.asarray(fp.middle.r)[:, p, :, k]
        # The floor of the image, which the measure leaves out, moves rates by less than 1 %.
        np.testing.assert_allclose(middle[:, p, :, k], own, atol=0.01 * own.max())
        if p == 0:
            other = np.asarray(fp.superficial.r).reshape(8, 2, 9)[:, :, k]
            np.testing.assert_allclose(superficial[:, :, k], other, atol=0.01 * other.max())
    assert found.scalars["unconverged"] == 0
    bent = jnp.full((2, 2), 0.5)
    other_params = replace(model.params, middle=replace(model.params.middle, kappa=bent))
    changed = tuning_curves(model, other_params, orientations=angles)
    assert np.abs(changed.arrays["middle"] - found.arrays["middle"]).max() > 0.1
    # A middle cell prefers the orientation of its filter, or the opposite direction.
    best = angles[middle[:, 0, 0, 0].argmax()]
    assert best % 180 == PREFERRED[0]


def test_a_model_without_filters_is_refused(model: TwoLayerSSN) -> None:
    with pytest.raises(ParameterError, match="filter bank"):
        tuning_curves(replace(model, bank=None), model.params)


def bumps(preferred: float, width: float) -> np.ndarray:
    """Two Gaussian bumps, one per half turn, as gratings evoke."""
    distance = (ANGLES - preferred + 90) % 180 - 90
    return 2 + 10 * np.exp(-(distance**2) / (2 * width**2))


@pytest.mark.parametrize("preferred", [0.0, 33.4, 178.0])
def test_features_of_gaussian_bumps_are_known(preferred: float) -> None:
    width = 15.0
    found = TuningFeatures()({"orientations": ANGLES, "curves": bumps(preferred, width)[:, None]})
    one = {name: values[0] for name, values in found.arrays.items()}
    # The minimum is 2 within 1e-6: a Gaussian at 90 degrees.
    assert one["fwhm"] == pytest.approx(2 * width * np.sqrt(2 * np.log(2)), abs=0.4)
    distance = abs((one["pref_ori"] - preferred + 90) % 180 - 90)
    assert distance <= 0.2
    assert one["max"] == pytest.approx(12, abs=0.02)
    assert one["min"] == pytest.approx(2, abs=0.02)
    assert one["modulation"] == pytest.approx(10 / 12, abs=2e-3)
    assert one["dsi"] == pytest.approx(0, abs=1e-9)


def test_slopes_are_derivatives_of_the_normalized_curve() -> None:
    t = np.deg2rad(ANGLES)
    curves = (3 + np.cos(2 * (t - np.deg2rad(10))))[:, None]
    found = features(ANGLES, curves)
    for angle in (55, 125):
        exact = -2 * np.sin(2 * np.deg2rad(angle - 10)) * np.pi / 180 / 4
        assert found[f"slope_{angle}"][0] == pytest.approx(exact, rel=1e-3)
    # Half the height of a cosine is passed at its steepest.
    assert found["slope_half"][0] == pytest.approx(2 * np.pi / 180 / 4, rel=1e-3)
    assert found["fwhm"][0] == pytest.approx(90, abs=0.4)
    assert found["mean"][0] == pytest.approx(3, abs=1e-3)
    assert found["std"][0] == pytest.approx(1 / np.sqrt(2), rel=1e-3)
    # 1 - circular variance in orientation: |sum r e^(2it)| / sum r = (1/2) / 3.
    assert found["osi"][0] == pytest.approx(1 / 6, rel=1e-6)


def test_widest_run_counts_and_runs_wrap_around() -> None:
    t = np.abs((ANGLES + 180) % 360 - 180)
    wide_at_zero = np.where(t <= 40, 10.0, 0.0) + np.where(np.abs(ANGLES - 180) <= 10, 10.0, 0.0)
    found = features(ANGLES, wide_at_zero[:, None])
    assert 80 < found["fwhm"][0] < 90


def test_flat_curves_have_no_width_and_are_noted() -> None:
    curves = np.stack([np.full(72, 3.0), bumps(50.0, 20.0)], 1)
    found = TuningFeatures()({"orientations": ANGLES, "curves": curves})
    assert np.isnan(found.arrays["fwhm"][0])
    assert np.isfinite(found.arrays["fwhm"][1])
    assert found.notes == ("1 cells have a flat curve",)


def test_uneven_angles_are_refused() -> None:
    with pytest.raises(DataError, match="evenly spread"):
        features(np.array([0.0, 10, 50, 90, 200, 300]), np.ones((6, 1)))
    with pytest.raises(DataError, match="curves must be"):
        features(ANGLES, np.ones((6, 1)))
