from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.stimuli.figures import (
    SHAPES,
    band_noise,
    synthetic_figure_ground,
    textured_figures,
)


def columns(count: int, *, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    found = textured_figures(count, size=size, seed=seed).batch(range(count))
    return found["inputs"], found["masks"], found["labels"]


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return columns(60, size=48, seed=0)


def test_a_figure_depends_on_its_seed_and_index_alone(drawn) -> None:
    images, masks = synthetic_figure_ground(4, size=48, seed=0)
    np.testing.assert_array_equal(images, drawn[0][:4])
    np.testing.assert_array_equal(masks, drawn[1][:4])
    assert not np.array_equal(images, synthetic_figure_ground(4, size=48, seed=1)[0])


def test_images_are_in_range_and_masks_cover_a_figure_wholly_inside(drawn) -> None:
    images, masks, labels = drawn
    assert images.dtype == np.float32
    assert images.min() >= 0
    assert images.max() <= 1
    share = masks.mean((1, 2))
    assert share.min() > 0.02
    assert share.max() < 0.42
    frame = np.ones((48, 48), bool)
    frame[1:-1, 1:-1] = False
    assert not masks[:, frame].any()
    assert set(labels) == set(range(len(SHAPES)))


def test_figures_are_not_always_in_the_middle(drawn) -> None:
    masks = drawn[1].astype(float)
    rows, columns = np.mgrid[:48, :48] - 23.5
    centers = [np.abs([(m * rows).sum(), (m * columns).sum()]).max() / m.sum() for m in masks]
    assert np.mean(np.array(centers) > 6) > 0.3


def test_a_disc_has_the_area_of_a_disc() -> None:
    _, masks, labels = columns(80, size=96, seed=3)
    for mask in masks[labels == SHAPES.index("disc")]:
        width = mask.any(0).sum()
        assert mask.sum() == pytest.approx(np.pi * width**2 / 4, rel=0.05)


def test_figure_and_ground_differ_in_colour(drawn) -> None:
    images, masks, _ = drawn
    for image, mask in zip(images, masks.astype(bool), strict=True):
        assert np.abs(image[:, mask].mean(1) - image[:, ~mask].mean(1)).max() > 0.05


def test_the_source_gives_images_masks_and_shapes() -> None:
    source = textured_figures(6, size=32)
    found = source.batch([5])
    assert found["inputs"].shape == (1, 3, 32, 32)
    assert found["masks"].shape == (1, 32, 32)
    assert source.fields["labels"].classes == len(SHAPES)


@pytest.mark.parametrize("angle", [0, 60, 110])
def test_band_noise_runs_the_way_and_at_the_rate_asked_for(angle: float) -> None:
    noise = band_noise(128, np.random.default_rng(0), frequency=12, angle=angle)
    assert noise.mean() == pytest.approx(0, abs=1e-9)
    assert noise.std() == pytest.approx(1)
    power = np.abs(np.fft.fft2(noise)) ** 2
    f = np.fft.fftfreq(128, 1 / 128)
    fx, fy = np.meshgrid(f, -f)
    rate = (power * np.hypot(fx, fy)).sum() / power.sum()
    assert rate == pytest.approx(12, rel=0.15)
    mean = (power * np.exp(2j * np.arctan2(fy, fx))).sum() / power.sum()
    assert np.abs(np.angle(mean * np.exp(-2j * np.deg2rad(angle)))) < np.deg2rad(10)
