from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.analyses.readout import fit_readout, score
from bioviz_core.stimuli import faces
from bioviz_core.stimuli.faces import ATTRIBUTES, REGIONS, draw_faces, schematic_faces
from bioviz_core.stimuli.sources import sample_rng
from scipy.ndimage import affine_transform

COUNT = 1200


@pytest.fixture(scope="module")
def drawn() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    return draw_faces(COUNT, size=48, seed=0)


def test_the_same_seed_gives_the_same_bytes_whatever_the_count() -> None:
    few, many = draw_faces(3, seed=7), draw_faces(5, seed=7)
    for a, b in zip(few, many, strict=True):
        assert a.tobytes() == b[:3].tobytes()
    assert draw_faces(3, seed=8)[0].tobytes() != few[0].tobytes()


def test_shapes_types_and_ranges_are_as_stated() -> None:
    images, attributes, masks = draw_faces(4, size=40)
    assert (images.shape, images.dtype) == ((4, 3, 40, 40), np.float32)
    assert (attributes.shape, attributes.dtype) == ((4, 6), np.uint8)
    assert (masks.shape, masks.dtype) == ((4, 7, 40, 40), np.uint8)
    assert images.min() >= 0
    assert images.max() <= 1
    assert masks.max() == 1
    assert len(REGIONS) == 7


@pytest.mark.slow
def test_attributes_are_fair_and_independent(drawn) -> None:
    attributes = drawn[1].astype(float)
    assert np.abs(attributes.mean(0) - 0.5).max() < 3 * 0.5 / np.sqrt(COUNT)
    correlations = np.corrcoef(attributes.T) - np.eye(6)
    assert np.abs(correlations).max() < 4 / np.sqrt(COUNT)


@pytest.mark.parametrize("number", range(6), ids=ATTRIBUTES)
def test_turning_an_attribute_changes_pixels_of_its_region_only(number: int) -> None:
    for index in range(20):
        off = sample_rng(5, index).integers(2, size=6).astype(bool)
        off[number] = False
        on = off.copy()
        on[number] = True
        (before, mask), (after, same) = (
            faces._face(64, state, sample_rng(6, index)) for state in (off, on)
        )
        np.testing.assert_array_equal(mask, same)
        changed = (before != after).any(0)
        assert changed.any()
        assert not changed[mask[1 + number] == 0].any()


def test_regions_lie_where_a_face_has_them() -> None:
    _, _, masks = draw_faces(100, seed=2)
    up = 31.5 - np.mgrid[:64, :64][0]
    height = {
        name: np.array([(up * mask).sum() / mask.sum() for mask in masks[:, number]])
        for number, name in enumerate(REGIONS)
    }
    assert (height["hat"] > height["eyes open"]).all()
    assert (height["eyes open"] > height["moustache"]).all()
    assert (height["moustache"] > height["smiling"]).all()
    eyes, frames = masks[:, 2].sum((1, 2)), masks[:, 3].sum((1, 2))
    assert (frames > eyes).all()
    assert masks.any((2, 3)).all()


def within(images: np.ndarray, masks: np.ndarray, region: int) -> np.ndarray:
    """Pixels about the region, turned upright and centred by what the masks alone tell."""
    found = []
    for image, mask in zip(images, masks, strict=True):
        face, hat, middle = (np.argwhere(mask[part]).mean(0) for part in (0, 4, region))
        down = (face - hat) / np.linalg.norm(face - hat)
        turn = np.array([[down[0], -down[1]], [down[1], down[0]]])
        offset = middle - turn @ [7.5, 19.5]
        cut = [affine_transform(plane, turn, offset, (16, 40), order=1) for plane in image]
        found.append(np.ravel(cut))
    return np.stack(found)


def without(images: np.ndarray, masks: np.ndarray, region: int) -> np.ndarray:
    """Every second pixel of the images, the region blanked."""
    blank = images * (masks[:, region, None] == 0)
    return blank[:, :, ::2, ::2].reshape(len(images), -1)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(6), ids=ATTRIBUTES)
def test_a_linear_readout_finds_an_attribute_in_its_region_and_nowhere_else(drawn, number) -> None:
    images, attributes, masks = drawn
    labels, train = attributes[:, number], np.arange(COUNT) < 900

    def accuracy(x: np.ndarray) -> float:
        readout = fit_readout(x[train], labels[train], c=1e-3)
        return score(readout, x[~train], labels[~train]).accuracy

    assert accuracy(within(images, masks, 1 + number)) > 0.95
    # 300 tests at chance: 3 standard deviations
    chance = pytest.approx(0.5, abs=3 * 0.5 / np.sqrt(300))
    assert accuracy(without(images, masks, 1 + number)) == chance


def test_the_source_gives_images_attributes_and_masks() -> None:
    found = schematic_faces(3, size=32).batch([2])
    assert found["inputs"].shape == (1, 3, 32, 32)
    assert found["attributes"].shape == (1, 6)
    assert found["masks"].shape == (1, 7, 32, 32)
    with pytest.raises(ValueError, match="at least 24"):
        draw_faces(1, size=8)
