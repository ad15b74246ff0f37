"""Noise on images: salt and pepper, Gaussian, occluding patches.

Each noisy image has a generator of its own, made of `(seed, index, level, pattern)`: it does not
depend on the batch it comes in, nor on which other levels are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import numpy as np

from bioviz_core.interfaces import Batch, Field, StimulusSource
from bioviz_core.stimuli.sources import check_choice, sample_rng

Kind = Literal["salt-and-pepper", "gaussian", "occlude", "mask-patches"]
PATCH = 4
"""Pixels on the side of a patch that `occlude` and `mask_patches` hide."""


def salt_and_pepper(image: np.ndarray, ratio: float, *, rng: np.random.Generator) -> np.ndarray:
    """`floor(ratio H W)` pixels, drawn without replacement: half white, the rest black.

    `image` is `(channels, height, width)`; a pixel takes all its channels along. Of an odd number
    the larger half is black.
    """
    found, pixels = image.copy(), image.shape[1] * image.shape[2]
    count = int(_checked(ratio) * pixels)
    places = rng.permutation(pixels)[:count]
    flat = found.reshape(len(found), pixels)
    flat[:, places[: count // 2]] = 1
    flat[:, places[count // 2 :]] = 0
    return found


def gaussian(image: np.ndarray, sd: float, *, rng: np.random.Generator) -> np.ndarray:
    """Independent normal noise of standard deviation `sd` on every value, clipped to [0, 1]."""
    noise = rng.normal(0, sd, image.shape)
    return np.asarray((image + noise).clip(0, 1), image.dtype)


def occlude(image: np.ndarray, ratio: float, *, rng: np.random.Generator) -> np.ndarray:
    """Patches at random places set to the image's mean, until `ratio` of the pixels are covered."""
    height, width = image.shape[1:]
    covered = np.zeros((height, width), bool)
    while covered.mean() < _checked(ratio):
        top, left = rng.integers(1 - PATCH, [height, width])
        covered[max(top, 0) : top + PATCH, max(left, 0) : left + PATCH] = True
    return _hidden(image, covered)


def mask_patches(image: np.ndarray, ratio: float, *, rng: np.random.Generator) -> np.ndarray:
    """`round(ratio n)` of the n cells of a grid set to the image's mean."""
    height, width = image.shape[1:]
    if height % PATCH or width % PATCH:
        raise ValueError(f"the sides must be multiples of {PATCH} pixels, got {image.shape[1:]}")
    cells = np.zeros((height // PATCH, width // PATCH), bool)
    cells.flat[rng.permutation(cells.size)[: round(_checked(ratio) * cells.size)]] = True
    return _hidden(image, np.kron(cells, np.ones((PATCH, PATCH), bool)))


KINDS: Mapping[Kind, Callable[..., np.ndarray]] = {
    "salt-and-pepper": salt_and_pepper,
    "gaussian": gaussian,
    "occlude": occlude,
    "mask-patches": mask_patches,
}


class Noisy:
    """A source with noise on its `inputs`; `targets` are the images without it.

    `level` is the ratio of pixels, or the standard deviation of Gaussian noise. With `pattern` None
    every epoch has a noise pattern of its own, else this one always.
    """

    def __init__(
        self,
        source: StimulusSource,
        *,
        kind: Kind = "salt-and-pepper",
        level: float = 0.3,
        seed: int = 0,
        pattern: int | None = None,
    ) -> None:
        check_choice("kind", kind, tuple(KINDS))
        self.source, self.kind, self.level, self.seed = source, kind, level, seed
        self.pattern = pattern
        self.fields: Mapping[str, Field] = {**source.fields, "targets": source.fields["inputs"]}

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """As the source, with noise."""
        found = self.source.batch(indices, epoch=epoch)
        # The level enters as its millionths: close levels are other noise, not the same one.
        place = int(self.level * 1e6), epoch if self.pattern is None else self.pattern
        inputs = found["inputs"].copy()
        for row, index in enumerate(indices):
            rng = sample_rng(self.seed, int(index), *place)
            inputs[row] = KINDS[self.kind](inputs[row], self.level, rng=rng)
        return cast(Batch, {**found, "inputs": inputs, "targets": found["inputs"]})


def _hidden(image: np.ndarray, where: np.ndarray) -> np.ndarray:
    return np.where(where, image.mean((1, 2), keepdims=True), image)


def _checked(ratio: float) -> float:
    if not 0 <= ratio <= 1:
        raise ValueError(f"the ratio of pixels must lie between 0 and 1, got {ratio}")
    return ratio
