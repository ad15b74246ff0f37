"""Noise on images: salt and pepper, Gaussian, occluding patches.

Each noisy image has a generator of its own, made of `(seed, index, level, pattern)`: it does not
depend on the batch it comes in, nor on which other levels are asked for.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal, cast

import numpy as np

from bioviz_core.interfaces import Batch, Field, StimulusSource
from bioviz_core.stimuli.sources import sample_rng

Kind = Literal["salt-and-pepper", "gaussian", "occlude", "mask-patches"]


def salt_and_pepper(image: np.ndarray, ratio: float, *, rng: np.random.Generator) -> np.ndarray:
    """`floor(ratio H W)` pixels, drawn without replacement: half white, the rest black.

    `image` is `(channels, height, width)`; a pixel takes all its channels along. Of an odd number
    the larger half is black.
    """
    _check_ratio(ratio)
    found, pixels = image.copy(), image.shape[1] * image.shape[2]
    count = int(ratio * pixels)
    places = rng.permutation(pixels)[:count]
    flat = found.reshape(len(found), pixels)
    flat[:, places[: count // 2]] = 1
    flat[:, places[count // 2 :]] = 0
    return found


def gaussian(image: np.ndarray, sd: float, *, rng: np.random.Generator) -> np.ndarray:
    """Independent normal noise of standard deviation `sd` on every value, clipped to [0, 1]."""
    if not sd >= 0:
        raise ValueError(f"sd must not be negative, got {sd}. Pixels run from 0 to 1")
    noise = rng.standard_normal(image.shape, dtype=np.float32) * np.float32(sd)
    return np.asarray((image + noise).clip(0, 1), image.dtype)


def occlude(
    image: np.ndarray, ratio: float, *, rng: np.random.Generator, patch: int = 4
) -> np.ndarray:
    """Patches at random places set to the image's mean, until `ratio` of the pixels are covered."""
    _check_ratio(ratio)
    found, (height, width) = image.copy(), image.shape[1:]
    covered = np.zeros((height, width), bool)
    while covered.mean() < ratio:
        top, left = rng.integers([1 - patch, 1 - patch], [height, width])
        covered[max(top, 0) : top + patch, max(left, 0) : left + patch] = True
    found[:, covered] = image.mean((1, 2))[:, None]
    return found


def mask_patches(
    image: np.ndarray, ratio: float, *, rng: np.random.Generator, patch: int = 4
) -> np.ndarray:
    """`round(ratio n)` of the n cells of a grid set to the image's mean."""
    _check_ratio(ratio)
    rows, columns = image.shape[1] // patch, image.shape[2] // patch
    if rows * patch != image.shape[1] or columns * patch != image.shape[2]:
        raise ValueError(f"patch must divide the sides {image.shape[1:]}, got {patch}")
    hidden = np.zeros(rows * columns, bool)
    hidden[rng.permutation(rows * columns)[: round(ratio * rows * columns)]] = True
    cells = np.repeat(np.repeat(hidden.reshape(rows, columns), patch, 0), patch, 1)
    found = image.copy()
    found[:, cells] = image.mean((1, 2))[:, None]
    return found


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
        if kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
        self.source, self.kind, self.level = source, kind, level
        self.seed, self.pattern = seed, pattern
        clean = source.fields["inputs"]
        self.fields: Mapping[str, Field] = {**source.fields, "targets": clean}

    def __len__(self) -> int:
        return len(self.source)

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """As the source, with noise."""
        found = self.source.batch(indices, epoch=epoch)
        pattern = epoch if self.pattern is None else self.pattern
        clean = found["inputs"]
        # The level enters as its millionths: close levels are other noise, not the same one.
        noisy = [
            KINDS[self.kind](
                image, self.level, rng=sample_rng(self.seed, index, int(self.level * 1e6), pattern)
            )
            for image, index in zip(clean, map(int, indices), strict=True)
        ]
        inputs = np.stack(noisy) if noisy else clean
        return cast(Batch, {**found, "inputs": inputs, "targets": clean})


def _check_ratio(ratio: float) -> None:
    if not 0 <= ratio <= 1:
        raise ValueError(f"the ratio of pixels must lie between 0 and 1, got {ratio}")
