from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.stimuli.gratings import gabor, grating, gratings, michelson, plaid


def test_at_0_degrees_the_bars_stand_upright_and_repeat_with_the_wavelength() -> None:
    image = grating(32, wavelength=8)
    np.testing.assert_allclose(np.ptp(image, axis=0), 0, atol=1e-6)
    np.testing.assert_allclose(image[:, :-8], image[:, 8:], atol=1e-6)
    assert image.dtype == np.float32


def test_the_orientation_turns_counterclockwise() -> None:
    # At 45 degrees luminance changes to the upper right and not to the lower right.
    image = grating(32, orientation=45, wavelength=9)
    np.testing.assert_allclose(image[:-1, :-1], image[1:, 1:], atol=1e-6)
    assert np.abs(image[1:, :-1] - image[:-1, 1:]).max() > 0.4


@pytest.mark.parametrize("orientation", [0, 30, 75, 130])
def test_the_spectrum_peaks_at_the_frequency_and_orientation(orientation: float) -> None:
    image = grating(64, orientation=orientation, wavelength=8)
    power = np.abs(np.fft.fftshift(np.fft.fft2(image - 0.5, (256, 256))))
    row, column = np.unravel_index(power.argmax(), power.shape)
    fx, fy = (column - 128) / 256, -(row - 128) / 256
    assert np.hypot(fx, fy) == pytest.approx(1 / 8, abs=0.004)
    turned = (np.rad2deg(np.arctan2(fy, fx)) - orientation) % 180
    assert min(turned, 180 - turned) < 2


def test_contrast_is_michelsons_and_half_a_cycle_inverts() -> None:
    assert michelson(grating(64, contrast=0.3, wavelength=16)) == pytest.approx(0.3, abs=0.01)
    first, second = grating(32, phase=0.4), grating(32, phase=0.4 + np.pi)
    np.testing.assert_allclose(first + second, 1, atol=1e-6)
    assert michelson(np.zeros((2, 2))) == 0


def test_a_plaid_is_the_sum_of_its_gratings_about_grey() -> None:
    parts = [grating(32, orientation=o, contrast=c) for o, c in [(10, 0.25), (80, 0.5)]]
    found = plaid(*parts)
    np.testing.assert_allclose(found - 0.5, (parts[0] - 0.5) + (parts[1] - 0.5), atol=1e-6)
    assert michelson(plaid(parts[0], parts[0])) == pytest.approx(0.5, abs=0.01)


def test_a_gabor_is_its_formula() -> None:
    found = gabor(9, orientation=90, wavelength=5, sigma=2, aspect=0.5, phase=1, center=(1, 2))
    # The pixel 3 right and 1 up of the middle: 2 right and 1 down of the centre; u is up.
    u, v = -1, -2
    expected = np.exp(-0.5 * (u**2 / 4 + v**2 * 0.25 / 4)) * np.cos(2 * np.pi * u / 5 + 1)
    assert found[4 - 1, 4 + 3] == pytest.approx(expected, rel=1e-6)


def test_the_support_cuts_a_gabor_off() -> None:
    whole, cut = gabor(31, sigma=3), gabor(31, sigma=3, support=2)
    line = np.abs(np.arange(31) - 15) <= 6
    inside = line[:, None] & line
    np.testing.assert_array_equal(cut[inside], whole[inside])
    assert not cut[~inside].any()


def test_the_source_has_every_combination_and_its_values() -> None:
    source = gratings(16, orientations=4, phases=2, contrasts=(0.5, 1.0))
    found = source.batch(range(len(source)))
    assert found["inputs"].shape == (16, 1, 16, 16)
    assert sorted(set(found["orientation"].tolist())) == [0, 45, 90, 135]
    np.testing.assert_allclose(found["orientation"], found["labels"] * 45)
    assert source.fields["orientation"].unit == "deg"
    image = grating(
        16,
        orientation=float(found["orientation"][11]),
        phase=float(found["phase"][11]),
        contrast=float(found["contrast"][11]),
    )
    np.testing.assert_allclose(found["inputs"][11, 0], image, atol=1e-6)


def test_what_makes_no_image_is_refused() -> None:
    with pytest.raises(ValueError, match="contrasts must add up to 1"):
        plaid(grating(32, contrast=0.9), grating(32, contrast=0.9))
    with pytest.raises(ValueError, match="wavelength must be positive"):
        grating(8, wavelength=0)
    with pytest.raises(ValueError, match="sigma must be positive"):
        gabor(8, sigma=-1)
