"""Sources over arrays, and sources over sources: subset, split, tasks.

Every source is pure: the batch of `(indices, epoch)` depends on nothing else, not on what was asked
before. Images are float32 in [0, 1], `(channels, height, width)`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.errors import DataError
from bioviz_core.interfaces import Batch, Field, StimulusSource

Rng = np.random.Generator
INDEX = Field((), "int64", 0)
UNITS = {"orientation": "deg", "phase": "rad"}


class ArraySource:
    """A source that holds its arrays: one keyword per batch key, the sample first.

    uint8 `inputs` count as images: stored as they are, given as float32 in [0, 1]. Floats are given
    as float32, `labels` and `task` as int64, other integers as they are. `classes` is the number of
    labels where not all occur.
    """

    def __init__(self, *, classes: int | None = None, **arrays: ArrayLike) -> None:
        self._arrays = {key: np.asarray(array) for key, array in arrays.items()}
        lengths = {key: len(array) for key, array in self._arrays.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"arrays of one source must have one length, got {lengths}")
        self._length = next(iter(lengths.values()))
        fields = {key: _field(key, array, classes) for key, array in self._arrays.items()}
        self.fields: Mapping[str, Field] = {**fields, "index": INDEX}

    def __len__(self) -> int:
        return self._length

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """The samples of these indices; every epoch is the same."""
        del epoch
        chosen = check_indices(indices, self._length)
        found = {key: self._given(key, array[chosen]) for key, array in self._arrays.items()}
        return cast(Batch, {**found, "index": chosen})

    def column(self, key: str) -> np.ndarray:
        """All values of one key, without giving the others."""
        return np.arange(len(self)) if key == "index" else self._given(key, self._arrays[key])

    def _given(self, key: str, array: np.ndarray) -> np.ndarray:
        if key == "inputs" and array.dtype == np.uint8:
            return array.astype(np.float32) / np.float32(255)
        return np.array(array, self.fields[key].dtype)


class Subset:
    """Some samples of another source, in the order given; `index` stays that of the source."""

    def __init__(self, source: StimulusSource, indices: Sequence[int] | np.ndarray) -> None:
        self.source, self.indices = source, check_indices(indices, len(source))
        self.fields = source.fields

    def __len__(self) -> int:
        return len(self.indices)

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """The samples at these places of the subset."""
        chosen = self.indices[check_indices(indices, len(self))]
        return self.source.batch(chosen, epoch=epoch)

    def column(self, key: str) -> np.ndarray:
        """All values of one key."""
        return np.asarray(column(self.source, key)[self.indices])


def generate(
    draw: Callable[[Rng], Mapping[str, ArrayLike]],
    count: int,
    seed: int,
    classes: int | None = None,
) -> ArraySource:
    """`count` samples of a procedure, by batch key: each has the generator of its own index."""
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    samples = [draw(sample_rng(seed, index)) for index in range(count)]
    arrays = {key: np.stack([sample[key] for sample in samples]) for key in samples[0]}
    return ArraySource(classes=classes, **arrays)


def patches(images: Sequence[np.ndarray], *, size: int, count: int, seed: int = 0) -> ArraySource:
    """`count` square patches of images of any size, drawn uniformly over all places of them all.

    `images` are `(channels, height, width)`; the patches of one image follow each other.
    """
    rng = np.random.default_rng(seed)
    if small := [image.shape for image in images if min(image.shape[1:]) < size]:
        raise DataError(f"no patch of {size} pixels fits into the image of shape {small[0]}")
    windows = [
        np.lib.stride_tricks.sliding_window_view(image, (size, size), axis=(1, 2))
        for image in images
    ]
    places = np.array([window.shape[1] * window.shape[2] for window in windows])
    cut = []
    for window, share in zip(windows, rng.multinomial(count, places / places.sum()), strict=True):
        rows, columns = (rng.integers(limit, size=share) for limit in window.shape[1:3])
        cut.append(window[:, rows, columns].swapaxes(0, 1))
    return ArraySource(inputs=np.concatenate(cut))


def split(
    source: StimulusSource, *, test: float | int = 0.2, seed: int = 0
) -> tuple[Subset, Subset]:
    """`(train, test)`: disjoint, drawn by the seed; labels keep their shares."""
    from sklearn.model_selection import train_test_split

    labels = column(source, "labels") if "labels" in source.fields else None
    train, held_out = train_test_split(
        np.arange(len(source)), test_size=test, random_state=seed, stratify=labels
    )
    return Subset(source, np.sort(train)), Subset(source, np.sort(held_out))


def task_stream(source: StimulusSource, tasks: Sequence[Sequence[int]]) -> list[Subset]:
    """One subset per task, each of the samples whose label is among the task's classes."""
    labels = column(source, "labels")
    stream = [Subset(source, np.flatnonzero(np.isin(labels, classes))) for classes in tasks]
    if empty := [list(c) for c, part in zip(tasks, stream, strict=True) if not len(part)]:
        raise DataError(f"no sample has a label of the tasks {empty}")
    return stream


def column(source: StimulusSource, key: str) -> np.ndarray:
    """All values of one key of epoch 0, cheaply where the source has `column`."""
    if isinstance(source, ArraySource | Subset):
        return source.column(key)
    return np.asarray(source.batch(range(len(source)))[key])  # type: ignore[literal-required]  # any key


def sample_rng(seed: int, *place: int) -> np.random.Generator:
    """The generator of one sample: pure in the seed and the place, `(epoch, index)` or the like."""
    return np.random.default_rng([seed, *place])


def check_indices(indices: Sequence[int] | np.ndarray, length: int) -> np.ndarray:
    """The indices as int64; `DataError` where one is outside of the source."""
    chosen = np.asarray(indices, np.int64).reshape(-1)
    if chosen.size and not (chosen.min() >= 0 and chosen.max() < length):
        raise DataError(
            f"indices run from {chosen.min()} to {chosen.max()}, the source has {length} samples"
        )
    return chosen


def check_choice(name: str, value: str, choices: Sequence[str]) -> None:
    """`ValueError` with the choices where the value is none of them."""
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(choices)}, got {value!r}")


def _field(key: str, array: np.ndarray, classes: int | None) -> Field:
    shape, kind = array.shape[1:], array.dtype.kind
    if kind not in "biuf":
        raise DataError(f"{key} has the dtype {array.dtype}: a source holds numbers")
    if key in ("labels", "task") and kind in "iu":
        classes = int(array.max()) + 1 if classes is None or key == "task" else classes
        return Field(shape, "int64", 0, classes - 1, classes)
    image = key == "inputs" and (
        array.dtype == np.uint8 or bool(array.size and array.min() >= 0 and array.max() <= 1)
    )
    dtype = "float32" if image or kind == "f" else str(array.dtype)
    low, high = (0.0, 1.0) if image else (None, None)
    return Field(shape, dtype, low, high, unit=UNITS.get(key))
