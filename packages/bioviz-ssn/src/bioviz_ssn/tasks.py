"""The two discrimination tasks, and sources of their trials.

A trial shows a reference and a target grating; the label says whether the reference is the more
clockwise, that is whether its orientation is larger. Pairs are made from uniform numbers, so that
they work in NumPy, under jit and for many seeds at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, cast

import numpy as np
from bioviz_core.interfaces import Batch, Field
from bioviz_core.stimuli.sources import INDEX, check_indices, sample_rng
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.stimuli import PUBLISHED, StimulusSpec, grating


class Task(Protocol):
    """Pairs of orientations to tell apart."""

    uniforms: ClassVar[int]

    def pairs(self, uniforms: Any, /) -> dict[str, Any]:
        """Trials from numbers in [0, 1), `(..., uniforms)`.

        `orientations (..., 2)` in degrees, the reference first, and `labels (...)`: 1 where the
        reference's is the larger.
        """


@dataclass(frozen=True, slots=True)
class FineTask:
    """A reference near `reference` degrees against a target `offset` to one side of it.

    Both are shifted by the same `jitter` of up to that many degrees either way.
    """

    offset: float = 4.0
    reference: float = 55.0
    jitter: float = 5.0
    uniforms: ClassVar[int] = 2

    def __post_init__(self) -> None:
        if not 0 <= self.offset <= 90 or not 0 <= self.jitter <= 90:
            raise ParameterError(f"offset and jitter must be 0 to 90 degrees, got {self}")

    def pairs(self, uniforms: Any, /, *, offset: ArrayLike | None = None) -> dict[str, Any]:
        """As `Task.pairs`; `offset (...,)` stands in for the task's, as a staircase needs."""
        xp = uniforms.__array_namespace__()
        apart = self.offset if offset is None else offset
        reference = self.reference + self.jitter * (2 * uniforms[..., 0] - 1)
        labels = uniforms[..., 1] < 0.5
        target = reference + xp.where(labels, -1, 1) * apart
        return _trials(xp, reference, target, labels)

    def draw(self, rng: np.random.Generator, count: int) -> dict[str, Any]:
        """`count` trials."""
        return self.pairs(rng.random((count, self.uniforms)))


@dataclass(frozen=True, slots=True)
class GeneralTask:
    """Any two orientations `nearest` to `furthest` degrees apart, one of them within `within`.

    The paper's text has 10 to 20 degrees, its code 5 to 20.
    """

    nearest: float = 5.0
    furthest: float = 20.0
    within: tuple[float, float] = (15.0, 165.0)
    uniforms: ClassVar[int] = 4

    def __post_init__(self) -> None:
        if not 0 <= self.nearest <= self.furthest <= 90 or self.within[0] > self.within[1]:
            raise ParameterError(
                f"distances must be 0 to 90 degrees, and both ranges rise, got {self}"
            )

    def pairs(self, uniforms: Any, /) -> dict[str, Any]:
        """As `Task.pairs`; the second orientation may leave `within`."""
        xp = uniforms.__array_namespace__()
        low, high = self.within
        first = low + (high - low) * uniforms[..., 0]
        apart = self.nearest + (self.furthest - self.nearest) * uniforms[..., 1]
        second = first - xp.where(uniforms[..., 2] < 0.5, -1, 1) * apart
        swap = uniforms[..., 3] < 0.5
        reference, target = xp.where(swap, second, first), xp.where(swap, first, second)
        return _trials(xp, reference, target, reference > target)

    def draw(self, rng: np.random.Generator, count: int) -> dict[str, Any]:
        """`count` trials."""
        return self.pairs(rng.random((count, self.uniforms)))


class Trials:
    """Endless new trials of a task, each epoch its own: a core `StimulusSource`.

    Batches have `orientations (2,)`, `labels`, the `uniforms` that made them, and for each of both
    stimuli `noise (2, noise)`, standard normal numbers for `DriveTable.drive`. With a sequence of
    `seeds` all but `index` have an axis of seeds behind the samples, `(samples, seeds, ...)`, and
    hold what each seed's own source gives: a rule that trains many networks maps over axis 1.
    """

    def __init__(
        self, task: Task, *, seeds: int | Sequence[int], count: int = 1000, noise: int = 162
    ) -> None:
        if count < 1 or noise < 0:
            raise ParameterError(f"needs at least one trial and no less noise than 0, got {count}")
        self.task, self._count, self._noise = task, count, noise
        self.seeds = (seeds,) if isinstance(seeds, int) else tuple(seeds)
        self._lead = () if isinstance(seeds, int) else (len(self.seeds),)
        if not self.seeds:
            raise ParameterError("needs at least one seed")
        self.fields: Mapping[str, Field] = {
            "orientations": Field((*self._lead, 2), "float32", unit="deg"),
            "labels": Field(self._lead, "int64", 0, 1, 2),
            "uniforms": Field((*self._lead, task.uniforms), "float32", 0.0, 1.0),
            "noise": Field((*self._lead, 2, noise), "float32"),
            "index": INDEX,
        }

    def __len__(self) -> int:
        return self._count

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """The trials of these indices; each has a generator of its seed, epoch and index."""
        chosen = check_indices(indices, self._count)
        generators = [[sample_rng(s, epoch, int(i)) for s in self.seeds] for i in chosen]
        shape = (len(chosen), *self._lead)
        uniforms = np.array([[g.random(self.task.uniforms) for g in row] for row in generators])
        noise = np.array(
            [
                [g.standard_normal((2, self._noise), dtype=np.float32) for g in row]
                for row in generators
            ],
            np.float32,
        )
        uniforms = uniforms.reshape(*shape, self.task.uniforms).astype(np.float32)
        trials = self.task.pairs(uniforms)
        return cast(
            Batch,
            {
                "orientations": trials["orientations"].astype(np.float32),
                "labels": trials["labels"].astype(np.int64),
                "uniforms": uniforms,
                "noise": noise.reshape(*shape, 2, self._noise),
                "index": chosen,
            },
        )


class ImageTrials:
    """Trials of a task as noisy images: `inputs (2, size, size)` and `labels`, of one seed.

    The pixel path that `Trials` with a `DriveTable` stands in for; some 270 times the numbers.
    """

    def __init__(
        self, task: Task, spec: StimulusSpec = PUBLISHED, *, seed: int, count: int = 1000
    ) -> None:
        self.spec = spec
        self._trials = Trials(task, seeds=seed, count=count, noise=spec.size**2)
        self.fields: Mapping[str, Field] = {
            "inputs": Field((2, spec.size, spec.size), "float32"),
            **{key: self._trials.fields[key] for key in ("orientations", "labels", "index")},
        }

    def __len__(self) -> int:
        return len(self._trials)

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """The trials of these indices."""
        trials: Any = self._trials.batch(indices, epoch=epoch)
        clean = grating(trials["orientations"].astype(float), self.spec)
        noise = self.spec.noise * trials["noise"].reshape(clean.shape)
        made = {"inputs": (clean + noise).astype(np.float32)}
        return cast(Batch, made | {key: trials[key] for key in self.fields if key != "inputs"})


def _trials(xp: Any, reference: Any, target: Any, labels: Any) -> dict[str, Any]:
    return {"orientations": xp.stack([reference, target], -1), "labels": labels.astype(int)}
