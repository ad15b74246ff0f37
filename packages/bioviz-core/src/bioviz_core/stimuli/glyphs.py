"""Procedural digits: ten small bitmaps, each drawn with another tilt, size and place.

`multi_glyphs` overlays two of them, so that one image has two right answers and an instruction
says which is asked for: the stand-in for Multi-MNIST that needs no download.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from scipy.ndimage import affine_transform, zoom

from bioviz_core.stimuli.sources import ArraySource, generate

SIZE = 28
CANVAS, SHIFT = 36, 6  # of an overlay: the partner lies 6 pixels down and right, on 36 x 36

# Seven rows of five pixels per digit, as on a dot-matrix display.
_ROWS = """
01110 00100 01110 11111 00010 11111 00110 11111 01110 01110
10001 01100 10001 00010 00110 10000 01000 00001 10001 10001
10011 00100 00001 00100 01010 11110 10000 00010 10001 10001
10101 00100 00010 00010 10010 00001 11110 00100 01110 01111
11001 00100 00100 00001 11111 00001 10001 01000 10001 00001
10001 00100 01000 10001 00010 10001 10001 01000 10001 00010
01110 01110 11111 01110 00010 01110 01110 01000 01110 01100
"""
BITMAPS = np.array([[list(glyph) for glyph in row.split()] for row in _ROWS.strip().splitlines()])
BITMAPS = BITMAPS.astype(np.float32).transpose(1, 0, 2)


def glyphs(count: int = 1000, *, seed: int = 0) -> ArraySource:
    """`count` digits of 28 x 28 pixels, each label drawn uniformly."""

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray | int]:
        image, label = draw_glyph(rng)
        return {"inputs": image[None], "labels": label}

    return generate(draw, count, seed, classes=10)


def multi_glyphs(count: int = 1000, *, seed: int = 0) -> ArraySource:
    """`count` overlays of two digits, and which of them is asked for.

    `task` 0 asks for the digit at the upper left, 1 for the one at the lower right; `labels` holds
    the answer, `pair` both. Tasks are drawn with equal chance.
    """

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray | int]:
        (first, label), (second, other) = draw_glyph(rng), draw_glyph(rng)
        pair, task = np.array([label, other]), int(rng.integers(2))
        image = overlay(first, second)[None]
        return {"inputs": image, "labels": pair[task], "task": task, "pair": pair}

    return generate(draw, count, seed, classes=10)


def overlay(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two `(..., 28, 28)` images on one: the brighter pixel of 36 x 36, shrunk to 28 x 28.

    `first` covers rows and columns 0 to 27, `second` 6 to 33. Shrinking takes the nearest pixel.
    """
    canvas = np.zeros((*first.shape[:-2], CANVAS, CANVAS), first.dtype)
    canvas[..., :SIZE, :SIZE] = first
    lower = canvas[..., SHIFT : SHIFT + SIZE, SHIFT : SHIFT + SIZE]
    np.maximum(lower, second, out=lower)
    nearest = np.arange(SIZE) * CANVAS // SIZE
    return np.asarray(canvas[..., nearest[:, None], nearest])


def draw_glyph(rng: np.random.Generator) -> tuple[np.ndarray, int]:
    """`(image (28, 28), label)`.

    Rotation to 0.25 rad, scale to 20 %, shear to 0.2 and shift to 12.5 % of the side, either way.
    """
    label = int(rng.integers(10))
    angle, shear = rng.uniform(-0.25, 0.25), rng.uniform(-0.2, 0.2)
    scale, shift = rng.uniform(0.8, 1.2), rng.uniform(-0.125, 0.125, size=2) * SIZE
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    # Rows and columns of the output, taken back to the template.
    back = np.linalg.inv(scale * turn @ np.array([[1, 0], [shear, 1]]))
    middle = np.full(2, (SIZE - 1) / 2)
    image = affine_transform(_templates()[label], back, middle - back @ (middle + shift), order=1)
    return image.clip(0, 1), label


@cache
def _templates() -> np.ndarray:
    """The bitmaps, enlarged to 20 x 14 between pixel centres, on 28 x 28."""
    large = zoom(BITMAPS, (1, 20 / 7, 14 / 5), order=1, mode="nearest", grid_mode=True)
    return np.pad(large, ((0, 0), (4, 4), (7, 7)))
