"""Real images that come with ordinary packages: no download, no environment variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from bioviz_core.stimuli.folders import to_square
from bioviz_core.stimuli.sources import ArraySource, Subset, check_choice, split

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "coins")
TEXTURES = ("brick", "grass", "gravel")
"""Names in `skimage.data` that its wheel holds; other names there would download."""


def digits(part: Literal["all", "train", "test"] = "all") -> ArraySource | Subset:
    """1,797 handwritten digits of 8 x 8 pixels from scikit-learn: 1,437 to train, 360 to test.

    The parts are stratified and fixed; `sources.split` draws others.
    """
    from sklearn.datasets import load_digits

    check_choice("part", part, ("all", "train", "test"))
    found = load_digits()
    source = ArraySource(inputs=found.images[:, None] / 16, labels=found.target)
    return source if part == "all" else split(source, test=360)[part == "test"]


def photographs(
    size: int = 128, *, names: Sequence[str] = PHOTOGRAPHS, color: bool = True
) -> ArraySource:
    """scikit-image's photographs, the central square of each at `size` pixels; one label each."""
    squares = [to_square(photograph(name, color=color), size) for name in names]
    return ArraySource(inputs=np.stack(squares), labels=np.arange(len(names)))


def photograph(name: str, *, color: bool = True) -> np.ndarray:
    """One of `PHOTOGRAPHS` or `TEXTURES`, uint8 `(channels, height, width)` in its full size.

    Grey is 0.299 R + 0.587 G + 0.114 B; a grey picture has three equal channels under `color`.
    """
    from PIL.Image import fromarray
    from skimage import data

    check_choice("name", name, PHOTOGRAPHS + TEXTURES)
    image = fromarray(getattr(data, name)()).convert("RGB" if color else "L")
    return np.moveaxis(np.atleast_3d(np.asarray(image)), -1, 0)
