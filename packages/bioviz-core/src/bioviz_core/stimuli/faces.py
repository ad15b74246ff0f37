"""Schematic faces: six independent attributes, each confined to a region whose mask is known.

They stand in for photographs with attributes. A top-down instruction such as "look for glasses"
has a true target area: the attribute's mask, there also when the attribute is off. Nothing outside
of its mask tells an attribute.
"""

from __future__ import annotations

from colorsys import hsv_to_rgb

import numpy as np
from scipy.ndimage import gaussian_filter

from bioviz_core.stimuli.figures import paint, soft
from bioviz_core.stimuli.gratings import turned_axes
from bioviz_core.stimuli.sources import ArraySource, generate

ATTRIBUTES = ("smiling", "eyes open", "glasses", "hat", "moustache", "long hair")
REGIONS = ("face", *ATTRIBUTES)

_FAIR, _DARK = np.array([0.98, 0.84, 0.72]), np.array([0.38, 0.25, 0.18])
_EYES = (-0.38, 0.38)  # across, in half-widths of the face; up 0.12 half-heights
_EYE_UP, _MOUTH_UP, _MOUSTACHE_UP = 0.12, -0.6, -0.36


def schematic_faces(count: int = 500, *, size: int = 64, seed: int = 0) -> ArraySource:
    """`count` faces with `attributes (6,)` as in `ATTRIBUTES` and `masks (7, size, size)`.

    The masks are in the order of `REGIONS`: the face, then one per attribute. A face depends on the
    seed, the size and its own index alone. Each attribute is drawn with probability 1/2. Nuisances:
    place within 15 % of the middle, half-axes 0.28 to 0.38 of the size, rotation within 15 degrees,
    skin, hair and hat colour, ground of low-pass noise, up to two shapes behind the face, gain 0.7
    to 1.3, pixel noise of standard deviation 0.03.
    """
    if size < 24:
        raise ValueError(f"size must be at least 24 pixels to show a face, got {size}")

    def draw(rng: np.random.Generator) -> dict[str, np.ndarray]:
        attributes = rng.integers(2, size=len(ATTRIBUTES), dtype=np.uint8)
        image, masks = _face(size, attributes.astype(bool), rng)
        return {"inputs": image, "attributes": attributes, "masks": masks}

    return generate(draw, count, seed)


def draw_faces(n: int, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `(n, 3, size, size)`, attributes `(n, 6)`, masks `(n, 7, size, size)`.

    As `schematic_faces` gives them, images float32 in [0, 1], the others uint8: same seed, same
    bytes.
    """
    found = schematic_faces(n, size=size, seed=seed)
    return found.column("inputs"), found.column("attributes"), found.column("masks")


def _face(
    size: int, attributes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One face. Every draw is made whatever the attributes are, so that none shows elsewhere."""
    smiling, open_eyes, glasses, hat, moustache, long_hair = attributes
    center = rng.uniform(-0.08, 0.08) * size, rng.uniform(-0.14, -0.05) * size
    half_width, half_height = rng.uniform(0.28, 0.31) * size, rng.uniform(0.32, 0.36) * size
    skin = _FAIR + rng.uniform() * (_DARK - _FAIR)
    hair = np.array(hsv_to_rgb(rng.uniform(0.04, 0.12), 0.6, rng.uniform(0.08, 0.45)))
    felt = np.array(hsv_to_rgb(rng.uniform(), 0.7, rng.uniform(0.5, 0.9)))
    # Of the face: `u` across in half-widths, `v` up in half-heights. Distances are in half-widths.
    u, v = turned_axes(size, rng.uniform(-15, 15), center)
    u, v = u / half_width, v / half_height
    oval = np.hypot(u, v) - 1
    bands = _box(np.abs(u) - 1, v + 0.25, 0.22, 0.75)
    cap = np.maximum(oval, 0.66 + 0.1 * u**2 - v)
    nose = _box(u, v + 0.1, 0.05, 0.12)
    eyes = np.minimum(*(np.hypot(u - across, v - _EYE_UP) for across in _EYES))
    lids = np.minimum(*(_box(u - across, v - _EYE_UP, 0.16, 0.035) for across in _EYES))
    frame = np.minimum(np.abs(eyes - 0.27) - 0.04, _box(u, v - _EYE_UP, 0.13, 0.04))
    bar = _box(u, v - _MOUSTACHE_UP, 0.28, 0.07)
    bend = 1.2 * (u**2 - 0.06) * (1 if smiling else -1)
    mouth = np.maximum(np.abs(v - _MOUTH_UP - bend) - 0.055, np.abs(u) - 0.35)
    crown = np.maximum(np.abs(v - 1.0) - 0.3, np.abs(u) - (0.95 - 0.25 * v))
    brim = _box(u, v - 0.68, 1.05, 0.06)
    ribbon = np.maximum(crown, np.abs(v - 0.8) - 0.06)

    image = _ground(size, center, 1.6 * half_height, rng)
    for shape, color, shown in (
        (bands, hair, long_hair),
        (oval, skin, True),
        (cap, hair, True),
        (nose, 0.8 * skin, True),
        (eyes - 0.17, (0.97, 0.97, 0.97), open_eyes),
        (eyes - 0.09, (0.08, 0.08, 0.1), open_eyes),
        (lids, 0.3 * skin, not open_eyes),
        (frame, (0.05, 0.05, 0.12), glasses),
        (bar, 0.5 * hair, moustache),
        (mouth, (0.6, 0.1, 0.12), True),
        (np.minimum(crown, brim), felt, hat),
        (ribbon, 0.5 * felt, hat),
    ):
        if shown:
            paint(image, soft(shape * half_width), color)
    regions = (
        oval,
        _box(u, v - _MOUTH_UP, 0.38, 0.17),
        eyes - 0.2,
        np.minimum(eyes - 0.33, _box(u, v - _EYE_UP, 0.14, 0.08)),
        _box(u, v - 0.95, 1.08, 0.37),
        _box(u, v - _MOUSTACHE_UP, 0.3, 0.09),
        _box(np.abs(u) - 1, v + 0.25, 0.24, 0.78),
    )
    # A pixel that is covered in the least belongs to the region.
    masks = np.stack([soft(region * half_width - 0.5) > 0 for region in regions]).astype(np.uint8)
    image = image * rng.uniform(0.7, 1.3) + 0.03 * rng.standard_normal(image.shape)
    return image.clip(0, 1).astype(np.float32), masks


def _ground(
    size: int, center: tuple[float, float], clear: float, rng: np.random.Generator
) -> np.ndarray:
    """Low-pass noise and up to two shapes on it, `clear` pixels from the face's centre."""
    base = np.array(hsv_to_rgb(rng.uniform(), 0.25, rng.uniform(0.45, 0.75)))
    waves = gaussian_filter(rng.standard_normal((4, size, size)), (0, size / 9, size / 9))
    light, *tints = waves / waves.std((1, 2), keepdims=True)
    image = (base[:, None, None] + 0.07 * light + 0.03 * np.stack(tints)).clip(0.05, 0.95)
    x, y = turned_axes(size, 0, center)
    for _ in range(rng.integers(3)):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.09) * size
        left, up = x - clear * np.cos(angle), y - clear * np.sin(angle)
        shape = np.hypot(left, up) - radius if rng.integers(2) else _box(left, up, radius, radius)
        paint(image, soft(shape), hsv_to_rgb(rng.uniform(), 0.6, rng.uniform(0.4, 0.9)))
    return np.asarray(image)


def _box(across: np.ndarray, up: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.asarray(np.maximum(np.abs(across) - half_width, np.abs(up) - half_height))
