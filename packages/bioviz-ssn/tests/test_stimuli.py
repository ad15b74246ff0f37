from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.stimuli import StimulusSpec, grating
from hypothesis import given, settings
from hypothesis import strategies as st

SMALL = StimulusSpec(half_width=1.0, resolution=10.0, radius=0.6)


def test_grating_is_the_published_image(reference: dict[str, np.ndarray]) -> None:
    shown = reference["test_orientations"][reference["clean_image_index"]]
    images = grating(jnp.asarray(shown, jnp.float32)).reshape(len(shown), -1)
    differs = np.asarray(images != reference["clean_images"])
    # Of the upright bars some columns are at exactly 128 of 256, where rounding decides the floor.
    assert not differs[1:].any()
    assert differs[0].sum() < 100
    assert (np.abs(images - reference["clean_images"])[0][differs[0]] == 3).all()
    assert set(reference["clean_images"][0][differs[0]]) == {381}


def test_precisions_differ_only_where_the_floor_is_decided_by_rounding() -> None:
    exact, rough = grating(35.0), grating(jnp.float32(35.0))
    assert exact.dtype == np.float64
    assert rough.dtype == np.float32
    assert np.mean(exact != rough) < 1e-3
    assert np.abs(exact - rough).max() == 3


def test_image_is_gray_outside_and_whole_levels_times_three() -> None:
    image = grating(35.0)
    assert image.shape == (129, 129)
    assert image[0, 0] == image[-1, -1] == 384
    np.testing.assert_array_equal(image % 3, 0)
    assert image.min() >= 0
    assert image.max() <= 3 * 256


def test_full_field_has_no_aperture() -> None:
    image = grating(35.0, full_field=True)
    masked = grating(35.0)
    center = np.hypot(*np.meshgrid(*[np.linspace(-3.2, 3.2, 129)] * 2)) < 2.4
    np.testing.assert_array_equal(image[center], masked[center])
    assert len(np.unique(image[:3])) > 50


def test_vectorized_under_jit_equals_one_by_one() -> None:
    angles, phases = jnp.array([10.0, 70.0, 100.0]), jnp.array([0.0, 1.0, 2.0])
    centers = jnp.array([[0.0, 0.0], [0.2, -0.1], [0.0, 0.3]])
    all_at_once = jax.jit(partial(grating, spec=SMALL))(angles, phase=phases, center=centers)
    single = [
        grating(a, SMALL, phase=p, center=c)
        for a, p, c in zip(angles, phases, centers, strict=True)
    ]
    differing = np.asarray(all_at_once) != np.asarray(single)
    assert differing.mean() < 1e-2  # a fused product may round to the other side of a floor
    np.testing.assert_allclose(all_at_once, np.asarray(single), atol=3)


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 180), st.floats(0, 6.3))
def test_half_a_turn_with_the_phase_reversed_is_the_same_image(angle: float, phase: float) -> None:
    here = grating(angle, SMALL, phase=phase)
    turned = grating(angle + 180, SMALL, phase=-phase)
    assert np.mean(here != turned) < 0.2
    np.testing.assert_allclose(here, turned, atol=3)


def test_shift_moves_aperture_and_bars() -> None:
    here = grating(35.0, center=(0.0, 0.0))
    there = grating(35.0, center=(0.5, -0.25))
    moved = there[10:, :-5] - here[:-10, 5:]  # ten pixels right in x, five down in y
    inner = moved[30:90, 30:90]
    assert np.mean(inner != 0) < 0.01


def test_contrast_and_radius_do_what_they_say() -> None:
    np.testing.assert_array_equal(grating(35.0, contrast=0.0), 384)
    small, large = (grating(35.0, radius=r) for r in (0.5, 1.5))
    assert (small != 384).sum() < (large != 384).sum()
    spans = [np.ptp(grating(35.0, contrast=c)) for c in (0.2, 0.4, 0.8)]
    np.testing.assert_allclose(spans, [3 * 256 * c for c in (0.2, 0.4, 0.8)], rtol=0.03)


@pytest.mark.parametrize("bad", [{"contrast": 1.2}, {"radius": 0}, {"noise": -1.0}])
def test_spec_refuses_what_no_image_has(bad: dict[str, float]) -> None:
    with pytest.raises(ParameterError, match=next(iter(bad))):
        StimulusSpec(**bad)
