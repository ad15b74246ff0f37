"""Real images that come with ordinary packages: no download, no environment variable."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from bioviz_core.errors import DataError, MissingDependencyError
from bioviz_core.stimuli.sources import ArraySource, Subset, split

PHOTOGRAPHS = ("astronaut", "camera", "chelsea", "coffee", "rocket", "coins")
TEXTURES = ("brick", "grass", "gravel")
"""Names in `skimage.data` that its wheel holds; other names there would download."""


def digits(part: Literal["all", "train", "test"] = "all") -> ArraySource | Subset:
    """1,797 handwritten digits of 8 x 8 pixels from scikit-learn: 1,437 to train, 360 to test.

    The parts are stratified and fixed; `sources.split` draws others.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    images = (found.images[:, None] / 16).astype(np.float32)
    source = ArraySource(inputs=images, labels=found.target.astype(np.int64))
    if part == "all":
        return source
    if part not in ("train", "test"):
        raise ValueError(f"part must be 'all', 'train' or 'test', got {part!r}")
    train, test = split(source, test=360, seed=0)
    return train if part == "train" else test


def photographs(
    size: int = 128, *, names: Sequence[str] = PHOTOGRAPHS, color: bool = True
) -> ArraySource:
    """scikit-image's photographs, the central square of each at `size` pixels; one label each."""
    from bioviz_core.stimuli.folders import to_square

    squares = [to_square(photograph(name, color=color), size) for name in names]
    return ArraySource(inputs=np.stack(squares), labels=np.arange(len(names)))


def photograph(name: str, *, color: bool = True) -> np.ndarray:
    """One of `PHOTOGRAPHS` or `TEXTURES`, uint8 `(channels, height, width)` in its full size.

    Grey is 0.299 R + 0.587 G + 0.114 B; a grey picture has three equal channels under `color`.
    """
    if name not in PHOTOGRAPHS + TEXTURES:
        raise DataError(
            f"no picture is called {name!r}; there are {', '.join(PHOTOGRAPHS + TEXTURES)}"
        )
    image = np.asarray(getattr(_skimage(), name)())
    if image.ndim == 2:
        image = np.repeat(image[..., None], 3, axis=-1) if color else image[..., None]
    elif not color:
        image = np.rint(image @ [0.299, 0.587, 0.114]).astype(np.uint8)[..., None]
    return np.ascontiguousarray(image.transpose(2, 0, 1))


def _skimage() -> Any:
    try:
        from skimage import data
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "scikit-image's photographs need scikit-image: pip install 'bioviz-core[data]'"
        ) from error
    return data
