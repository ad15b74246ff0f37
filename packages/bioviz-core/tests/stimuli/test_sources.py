from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.errors import DataError
from bioviz_core.interfaces import StimulusSource
from bioviz_core.stimuli.sources import (
    ArraySource,
    Subset,
    column,
    patches,
    split,
    task_stream,
)
from hypothesis import given
from hypothesis import strategies as st

IMAGES = np.arange(10 * 1 * 2 * 2, dtype=np.uint8).reshape(10, 1, 2, 2) * 6
LABELS = np.array([0, 1, 2, 0, 1, 2, 0, 1, 2, 0], np.uint8)


@pytest.fixture
def source() -> ArraySource:
    return ArraySource(inputs=IMAGES, labels=LABELS, noise=np.ones((10, 3)), mask=LABELS == 0)


def test_fields_say_what_batches_hold(source: ArraySource) -> None:
    assert isinstance(source, StimulusSource)
    found = source.batch([3, 3, 0])
    assert set(found) == set(source.fields) == {"inputs", "labels", "noise", "mask", "index"}
    for key, field in source.fields.items():
        assert found[key].shape == (3, *field.shape)
        assert found[key].dtype == field.dtype
    assert source.fields["labels"].classes == 3
    assert (source.fields["inputs"].low, source.fields["inputs"].high) == (0, 1)


def test_bytes_become_floats_between_0_and_1(source: ArraySource) -> None:
    np.testing.assert_array_equal(
        source.batch([9])["inputs"][0], (IMAGES[9] / 255).astype(np.float32)
    )


@given(st.lists(st.integers(0, 9)), st.integers(0, 5))
def test_a_batch_is_pure_and_independent_of_its_mates(indices: list[int], epoch: int) -> None:
    source = ArraySource(inputs=IMAGES, labels=LABELS)
    whole = source.batch(indices, epoch=epoch)
    assert whole["inputs"].shape == (len(indices), 1, 2, 2)
    for place, index in enumerate(indices):
        alone = source.batch([index], epoch=epoch)
        assert all(np.array_equal(alone[key][0], whole[key][place]) for key in whole)


def test_changing_a_batch_leaves_the_source_alone() -> None:
    source = ArraySource(inputs=np.zeros((3, 1, 1, 1), np.float32), labels=np.arange(3))
    source.batch([0, 1, 2])["inputs"][:] = 5
    source.column("inputs")[:] = 5
    assert not source.batch([0, 1, 2])["inputs"].any()


def test_an_index_outside_and_unequal_lengths_are_refused(source: ArraySource) -> None:
    with pytest.raises(DataError, match="from -1 to 3, the source has 10"):
        source.batch([-1, 3])
    with pytest.raises(DataError, match="one length"):
        ArraySource(inputs=IMAGES, labels=LABELS[:3])
    with pytest.raises(DataError, match="holds numbers"):
        ArraySource(inputs=np.array(["a"]))


def test_a_subset_keeps_the_index_of_its_source(source: ArraySource) -> None:
    part = Subset(Subset(source, [9, 4, 2]), [2, 0])
    found = part.batch([0, 1])
    assert found["index"].tolist() == [2, 9]
    assert found["labels"].tolist() == column(part, "labels").tolist() == [2, 0]
    with pytest.raises(DataError, match="the source has 2"):
        part.batch([2])


def test_a_split_is_disjoint_complete_stratified_and_of_the_seed() -> None:
    source = ArraySource(inputs=np.zeros((100, 1)), labels=np.repeat([0, 1], [80, 20]))
    train, test = split(source, test=0.25, seed=3)
    both = np.concatenate([train.indices, test.indices])
    assert sorted(both) == list(range(100))
    assert np.bincount(column(test, "labels")).tolist() == [20, 5]
    again, other = split(source, test=0.25, seed=3), split(source, test=0.25, seed=4)
    assert np.array_equal(again[1].indices, test.indices)
    assert not np.array_equal(other[1].indices, test.indices)
    plain = ArraySource(inputs=np.zeros((10, 1)))
    assert len(split(plain, test=3)[1]) == 3


def test_a_task_stream_has_each_tasks_classes(source: ArraySource) -> None:
    first, second = task_stream(source, [[0, 2], [1]])
    assert set(column(first, "labels")) == {0, 2}
    assert len(first) + len(second) == 10
    with pytest.raises(DataError, match=r"\[\[7\]\]"):
        task_stream(source, [[0], [7]])


def test_column_falls_back_on_the_batch() -> None:
    class Bare:
        fields = ArraySource(inputs=IMAGES).fields

        def __len__(self) -> int:
            return 4

        def batch(self, indices, *, epoch=0):
            return {"inputs": np.asarray(indices)}

    assert column(Bare(), "inputs").tolist() == [0, 1, 2, 3]


def test_patches_are_drawn_uniformly_over_the_places_of_all_images() -> None:
    # Each pixel holds its own place, so that a patch shows where it comes from.
    images = [
        np.stack([np.full((9, 12), 0.5), *np.mgrid[:9, :12] / 100]).astype(np.float32),
        np.zeros((3, 5, 5), np.float32),
    ]
    found = column(patches(images, size=4, count=400, seed=2), "inputs")
    assert found.shape == (400, 3, 4, 4)
    np.testing.assert_array_equal(
        found, column(patches(images, size=4, count=400, seed=2), "inputs")
    )
    first = found[found[:, 0, 0, 0] == 0.5]
    corners = np.rint(first[:, 1:, 0, 0] * 100).astype(int)
    assert corners.min(0).tolist() == [0, 0]
    assert corners.max(0).tolist() == [5, 8]
    # 6 * 9 places in the first, 2 * 2 in the second
    assert len(first) / 400 == pytest.approx(54 / 58, abs=4 * np.sqrt(0.07 * 0.93 / 400))
    np.testing.assert_allclose(np.diff(first[:, 2], axis=-1), 0.01, atol=1e-6)


def test_patches_of_bytes_are_scaled_and_a_small_image_is_refused() -> None:
    white = patches([np.full((1, 4, 4), 255, np.uint8)], size=4, count=1)
    assert white.batch([0])["inputs"].max() == 1
    assert white.batch([])["inputs"].shape == (0, 1, 4, 4)
    with pytest.raises(DataError, match="no patch of 5 pixels"):
        patches([np.zeros((1, 4, 9))], size=5, count=1)
