"""Sources over arrays, and sources over sources: subset, split, normalize, tasks, patches.

Every source is pure: the batch of `(indices, epoch)` depends on nothing else, not on what was asked
before. Images are float32 in [0, 1], `(channels, height, width)`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, cast

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.errors import DataError
from bioviz_core.interfaces import Batch, Field, StimulusSource

INDEX = Field((), "int64", 0)


class ArraySource:
    """A source that holds its arrays: one keyword per batch key, the sample first.

    uint8 `inputs` count as images: stored as they are, given as float32 in [0, 1]. Floats are given
    as float32, `labels` and `task` as int64, other integers as they are. `classes` is the number of
    labels where not all occur.
    """

    def __init__(
        self,
        *,
        classes: int | None = None,
        units: Mapping[str, str] | None = None,
        **arrays: ArrayLike,
    ) -> None:
        self._arrays = {key: np.asarray(array) for key, array in arrays.items()}
        lengths = {key: len(array) for key, array in self._arrays.items()}
        if len(set(lengths.values())) != 1:
            raise DataError(f"arrays of one source must have one length, got {lengths}")
        self._length = next(iter(lengths.values()))
        fields = {key: _field(key, array, classes) for key, array in self._arrays.items()}
        for key, unit in (units or {}).items():
            fields[key] = fields[key]._replace(unit=unit)
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
        if key == "index":
            return np.arange(self._length)
        return self._given(key, self._arrays[key])

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


class Normalized:
    """A source with `inputs` as `(inputs - mean) / std`, per channel where these are lists."""

    def __init__(self, source: StimulusSource, *, mean: ArrayLike, std: ArrayLike) -> None:
        self.source = source
        inputs = source.fields["inputs"]
        per_channel = (-1,) + (1,) * (len(inputs.shape) - 1)
        self.mean = np.asarray(mean, np.float32).reshape(per_channel)
        self.std = np.asarray(std, np.float32).reshape(per_channel)
        if not (self.std > 0).all():
            raise ValueError(f"std must be positive, got {self.std.ravel()}")
        low, high = (
            None if end is None else float(pick((end - self.mean) / self.std))
            for end, pick in ((inputs.low, np.min), (inputs.high, np.max))
        )
        self.fields = {**source.fields, "inputs": inputs._replace(low=low, high=high)}

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """As the source, normalized."""
        found = self.source.batch(indices, epoch=epoch)
        return cast(Batch, {**found, "inputs": (found["inputs"] - self.mean) / self.std})

    def column(self, key: str) -> np.ndarray:
        """All values of one key."""
        values = column(self.source, key)
        return np.asarray((values - self.mean) / self.std) if key == "inputs" else values


class Patches:
    """`count` square patches cut from images of any size, each at a place that its seed draws.

    `images` are `(channels, height, width)`, uint8 or float in [0, 1]. A patch is drawn uniformly
    over all places of all images, so a larger picture gives more.
    """

    def __init__(
        self, images: Sequence[np.ndarray], *, size: int, count: int, seed: int = 0
    ) -> None:
        self.images, self.size, self.count, self.seed = list(images), size, count, seed
        places = [(i.shape[1] - size + 1) * (i.shape[2] - size + 1) for i in self.images]
        small = [i.shape for i in self.images if min(i.shape[1:]) < size]
        if small or not self.images:
            raise DataError(f"no patch of {size} pixels fits into the image of shape {small[:1]}")
        self._ends = np.cumsum(places)
        shape = (self.images[0].shape[0], size, size)
        self.fields: Mapping[str, Field] = {
            "inputs": Field(shape, "float32", 0.0, 1.0),
            "index": INDEX,
        }

    def __len__(self) -> int:
        return self.count

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """The patches of these indices; every epoch is the same."""
        del epoch
        chosen = check_indices(indices, self.count)
        patches = [self._patch(int(index)) for index in chosen]
        shape = self.fields["inputs"].shape
        return {"inputs": np.stack(patches) if patches else np.empty((0, *shape), np.float32),
                "index": chosen}  # fmt: skip

    def _patch(self, index: int) -> np.ndarray:
        place = int(sample_rng(self.seed, index).integers(self._ends[-1]))
        number = int(np.searchsorted(self._ends, place, side="right"))
        image = self.images[number]
        before = self._ends[number - 1] if number else 0
        row, column = divmod(place - int(before), image.shape[2] - self.size + 1)
        patch = image[:, row : row + self.size, column : column + self.size]
        if patch.dtype == np.uint8:
            return patch.astype(np.float32) / np.float32(255)
        return np.asarray(patch, np.float32)


def split(
    source: StimulusSource, *, test: float | int = 0.2, seed: int = 0, stratify: bool = True
) -> tuple[Subset, Subset]:
    """`(train, test)`: disjoint, drawn by the seed; `stratify` keeps the labels' shares."""
    from sklearn.model_selection import train_test_split

    labels = column(source, "labels") if stratify and "labels" in source.fields else None
    train, held_out = train_test_split(
        np.arange(len(source)), test_size=test, random_state=seed, stratify=labels
    )
    return Subset(source, np.sort(train)), Subset(source, np.sort(held_out))


def take(source: StimulusSource, count: int, *, seed: int = 0) -> Subset:
    """`count` samples drawn without replacement by the seed."""
    if not 0 < count <= len(source):
        raise DataError(f"{count} samples asked for, the source has {len(source)}")
    drawn = np.random.default_rng([seed, count]).permutation(len(source))[:count]
    return Subset(source, np.sort(drawn))


def task_stream(source: StimulusSource, tasks: Sequence[Sequence[int]]) -> list[Subset]:
    """One subset per task, each of the samples whose label is among the task's classes."""
    labels = column(source, "labels")
    stream = [Subset(source, np.flatnonzero(np.isin(labels, classes))) for classes in tasks]
    if empty := [list(c) for c, part in zip(tasks, stream, strict=True) if not len(part)]:
        raise DataError(f"no sample has a label of the tasks {empty}")
    return stream


def column(source: StimulusSource, key: str) -> np.ndarray:
    """All values of one key of epoch 0, cheaply where the source has `column`."""
    own = getattr(source, "column", None)
    if own is not None:
        return np.asarray(own(key))
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


def _field(key: str, array: np.ndarray, classes: int | None) -> Field:
    kind: Any = array.dtype.kind
    if key == "inputs" and array.dtype == np.uint8:
        return Field(array.shape[1:], "float32", 0.0, 1.0)
    if kind == "b":
        return Field(array.shape[1:], "bool")
    if kind in "iu":
        if key in ("labels", "task"):
            classes = int(array.max()) + 1 if classes is None or key == "task" else classes
            return Field(array.shape[1:], "int64", 0, classes - 1, classes)
        return Field(array.shape[1:], str(array.dtype))
    if kind == "f":
        inside = key == "inputs" and array.size and array.min() >= 0 and array.max() <= 1
        low, high = (0.0, 1.0) if inside else (None, None)
        return Field(array.shape[1:], "float32", low, high)
    raise DataError(f"{key} has the dtype {array.dtype}: a source holds numbers")
