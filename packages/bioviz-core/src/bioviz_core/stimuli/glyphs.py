"""Procedural digits: ten small bitmaps, each drawn with another tilt, size and place.

`multi_glyphs` overlays two of them, so that one image has two right answers and an instruction
says which is asked for: the stand-in for Multi-MNIST that needs no download.
"""

from __future__ import annotations

import numpy as np

from bioviz_core.stimuli.sources import ArraySource, sample_rng

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
BITMAPS = np.array(
    [[[int(p) for p in glyph] for glyph in row.split()] for row in _ROWS.strip().splitlines()],
    np.float32,
).transpose(1, 0, 2)


def glyphs(count: int = 1000, *, seed: int = 0) -> ArraySource:
    """`count` digits of 28 x 28 pixels, each label drawn uniformly."""
    images, labels = draw_glyphs(count, seed=seed)
    return ArraySource(inputs=images[:, None], labels=labels, classes=10)


def multi_glyphs(count: int = 1000, *, seed: int = 0) -> ArraySource:
    """`count` overlays of two digits, and which of them is asked for.

    `task` 0 asks for the digit at the upper left, 1 for the one at the lower right; `labels` holds
    the answer, `pair` both. Tasks are drawn with equal chance.
    """
    images, labels = draw_glyphs(2 * count, seed=seed)
    pairs = labels.reshape(count, 2)
    task = np.array([sample_rng(seed, index, 1).integers(2) for index in range(count)])
    return ArraySource(
        inputs=overlay(images[::2], images[1::2])[:, None],
        labels=pairs[np.arange(count), task],
        task=task,
        pair=pairs,
        classes=10,
    )


def overlay(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two `(n, 28, 28)` images on one: the brighter pixel of a 36 x 36 canvas, shrunk to 28 x 28.

    `first` covers rows and columns 0 to 27, `second` 6 to 33. Shrinking takes the nearest pixel.
    """
    canvas = np.zeros((len(first), CANVAS, CANVAS), first.dtype)
    canvas[:, :SIZE, :SIZE] = first
    lower = canvas[:, SHIFT : SHIFT + SIZE, SHIFT : SHIFT + SIZE]
    np.maximum(lower, second, out=lower)
    nearest = np.arange(SIZE) * CANVAS // SIZE
    return np.asarray(canvas[:, nearest[:, None], nearest])


def draw_glyphs(count: int, *, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """`(images (count, 28, 28), labels)`; a glyph depends on the seed and its own index alone.

    Rotation to 0.25 rad, scale to 20 %, shear to 0.2 and shift to 12.5 % of the side, either way.
    """
    from scipy.ndimage import affine_transform

    templates = np.stack([_template(bitmap) for bitmap in BITMAPS])
    images, labels = np.empty((count, SIZE, SIZE), np.float32), np.empty(count, np.int64)
    middle = np.full(2, (SIZE - 1) / 2)
    for index in range(count):
        rng = sample_rng(seed, index)
        labels[index] = rng.integers(10)
        angle, shear = rng.uniform(-0.25, 0.25), rng.uniform(-0.2, 0.2)
        scale, shift = rng.uniform(0.8, 1.2), rng.uniform(-0.125, 0.125, size=2) * SIZE
        turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
        # Rows and columns of the output, taken back to the template.
        back = np.linalg.inv(scale * turn @ np.array([[1, 0], [shear, 1]]))
        offset = middle - back @ (middle + shift)
        images[index] = affine_transform(templates[labels[index]], back, offset, order=1)
    return images.clip(0, 1), labels


def _template(bitmap: np.ndarray) -> np.ndarray:
    """A bitmap of 7 x 5, enlarged to 20 x 14 between pixel centres, on 28 x 28."""
    rows, columns = _between(7, 20), _between(5, 14)
    return np.pad(rows @ bitmap @ columns.T, ((4, 4), (7, 7))).astype(np.float32)


def _between(old: int, new: int) -> np.ndarray:
    """The matrix `(new, old)` of linear interpolation between the centres of pixels."""
    places = (np.arange(new) + 0.5) * old / new - 0.5
    distance = np.abs(places.clip(0, old - 1)[:, None] - np.arange(old))
    return np.asarray(np.maximum(0, 1 - distance))
