from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.interfaces import StimulusSource
from bioviz_core.stimuli.noise import (
    KINDS,
    Noisy,
    gaussian,
    mask_patches,
    occlude,
    salt_and_pepper,
)
from bioviz_core.stimuli.sources import ArraySource

GREY = np.full((3, 12, 16), 0.5, np.float32)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def source() -> ArraySource:
    images = np.random.default_rng(1).random((5, 3, 8, 8), dtype=np.float32)
    return ArraySource(inputs=images, labels=np.arange(5))


@pytest.mark.parametrize("ratio", [0.0, 0.1, 0.333, 1.0])
def test_salt_and_pepper_hits_exactly_its_share_half_white(ratio: float, rng) -> None:
    found = salt_and_pepper(GREY, ratio, rng=rng)
    count = int(ratio * 192)
    assert (found == 1).all(0).sum() == count // 2
    assert (found == 0).all(0).sum() == count - count // 2
    assert (found == 0.5).all(0).sum() == 192 - count


def test_gaussian_noise_has_its_spread_and_stays_in_range(rng) -> None:
    found = gaussian(np.full((1, 200, 200), 0.5, np.float32), 0.1, rng=rng)
    assert found.std() == pytest.approx(0.1, rel=0.02)
    assert found.mean() == pytest.approx(0.5, abs=0.002)
    loud = gaussian(GREY, 5, rng=rng)
    assert (loud.min(), loud.max()) == (0, 1)


def test_occlusion_covers_at_least_its_share_with_the_mean(rng) -> None:
    image = rng.random((3, 32, 32), dtype=np.float32)
    found = occlude(image, 0.4, rng=rng)
    hidden = (found != image).any(0)
    assert 0.4 <= hidden.mean() < 0.4 + 16 / 1024
    np.testing.assert_allclose(
        found[:, hidden], np.repeat(image.mean((1, 2))[:, None], hidden.sum(), 1)
    )


def test_masked_patches_are_whole_cells_of_a_grid(rng) -> None:
    image = rng.random((1, 16, 16), dtype=np.float32)
    hidden = (mask_patches(image, 0.75, rng=rng) != image)[0]
    cells = hidden.reshape(4, 4, 4, 4).mean((1, 3))
    assert set(np.unique(cells)) == {0.0, 1.0}
    assert cells.sum() == 12
    with pytest.raises(ValueError, match="multiples of 4"):
        mask_patches(image[:, 1:], 0.5, rng=rng)


@pytest.mark.parametrize("kind", list(KINDS))
def test_noise_leaves_the_image_alone_and_level_0_changes_nothing(kind, rng) -> None:
    image = rng.random((3, 8, 8), dtype=np.float32)
    before = image.copy()
    noisy = KINDS[kind](image, 0.5, rng=rng)
    np.testing.assert_array_equal(image, before)
    assert not np.array_equal(noisy, image)
    assert noisy.dtype == np.float32
    np.testing.assert_array_equal(KINDS[kind](image, 0, rng=rng), image)


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_noisy_source_is_pure_whatever_the_batch(kind, source: ArraySource) -> None:
    noisy = Noisy(source, kind=kind, level=0.3, seed=2)
    assert isinstance(noisy, StimulusSource)
    whole = noisy.batch([4, 1, 1], epoch=3)
    alone = noisy.batch([1], epoch=3)
    np.testing.assert_array_equal(whole["inputs"][1], alone["inputs"][0])
    np.testing.assert_array_equal(whole["inputs"][2], alone["inputs"][0])
    np.testing.assert_array_equal(whole["targets"], source.batch([4, 1, 1])["inputs"])
    assert set(whole) == set(noisy.fields)
    assert noisy.batch([])["inputs"].shape == (0, 3, 8, 8)


def test_images_epochs_levels_and_seeds_have_patterns_of_their_own(source: ArraySource) -> None:
    def hit(index: int = 0, epoch: int = 0, **options) -> np.ndarray:
        found = Noisy(source, **{"level": 0.3, **options}).batch([index], epoch=epoch)
        return np.isin(found["inputs"][0], [0, 1]).all(0)

    first = hit()
    for other in (hit(index=1), hit(epoch=1), hit(seed=1), hit(level=0.31)):
        assert not np.array_equal(first, other)
    np.testing.assert_array_equal(hit(epoch=5, pattern=0), first)


def test_wrong_kinds_and_levels_are_refused(source: ArraySource, rng) -> None:
    with pytest.raises(ValueError, match="kind"):
        Noisy(source, kind="speckle")
    with pytest.raises(ValueError, match="between 0 and 1"):
        salt_and_pepper(GREY, 1.1, rng=rng)
    with pytest.raises(ValueError, match="scale < 0"):
        gaussian(GREY, -0.1, rng=rng)
