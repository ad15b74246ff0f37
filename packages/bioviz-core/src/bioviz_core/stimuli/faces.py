"""Schematic faces: six independent attributes, each confined to a region whose mask is known.

They stand in for photographs with attributes. A top-down instruction such as "look for glasses"
has a true target area: the attribute's mask, there also when the attribute is off. Nothing outside
of its mask tells an attribute.
"""

from __future__ import annotations

import numpy as np

from bioviz_core.stimuli.figures import band_noise, color_of, paint, soft
from bioviz_core.stimuli.gratings import pixel_axes
from bioviz_core.stimuli.sources import ArraySource, sample_rng

ATTRIBUTES = ("smiling", "eyes open", "glasses", "hat", "moustache", "long hair")
REGIONS = ("face", *ATTRIBUTES)

_FAIR, _DARK = np.array([0.98, 0.84, 0.72]), np.array([0.38, 0.25, 0.18])
_EYES = (-0.38, 0.38)  # across, in half-widths of the face; up 0.12 half-heights
_EYE_UP, _MOUTH_UP, _MOUSTACHE_UP = 0.12, -0.6, -0.36


def schematic_faces(count: int = 500, *, size: int = 64, seed: int = 0) -> ArraySource:
    """`count` faces with `attributes (6,)` as in `ATTRIBUTES` and `masks (7, size, size)`.

    The masks are in the order of `REGIONS`: the face, then one per attribute.
    """
    images, attributes, masks = draw_faces(count, size=size, seed=seed)
    return ArraySource(inputs=images, attributes=attributes, masks=masks)


def draw_faces(
    count: int, *, size: int = 64, seed: int = 0
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Images `(n, 3, size, size)` float32 in [0, 1], attributes `(n, 6)`, masks `(n, 7, ...)`.

    Pure: a face depends on the seed, the size and its own index alone. Each attribute is drawn
    with probability 1/2. Nuisances: place within 15 % of the middle, half-axes 0.28 to 0.38 of the
    size, rotation within 15 degrees, skin, hair and hat colour, ground of low-pass noise, up to two
    shapes behind the face, gain 0.7 to 1.3, pixel noise of standard deviation 0.03.
    """
    if size < 24:
        raise ValueError(f"size must be at least 24 pixels to show a face, got {size}")
    images = np.empty((count, 3, size, size), np.float32)
    attributes = np.empty((count, len(ATTRIBUTES)), np.uint8)
    masks = np.empty((count, len(REGIONS), size, size), np.uint8)
    for index in range(count):
        rng = sample_rng(seed, index)
        attributes[index] = rng.integers(2, size=len(ATTRIBUTES))
        images[index], masks[index] = _face(size, attributes[index].astype(bool), rng)
    return images, attributes, masks


def _face(
    size: int, attributes: np.ndarray, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """One face. Every draw is made whatever the attributes are, so that none shows elsewhere."""
    smiling, open_eyes, glasses, hat, moustache, long_hair = attributes
    center = rng.uniform(-0.08, 0.08) * size, rng.uniform(-0.14, -0.05) * size
    half_width, half_height = rng.uniform(0.28, 0.31) * size, rng.uniform(0.32, 0.36) * size
    turn = np.deg2rad(rng.uniform(-15, 15))
    skin = _FAIR + rng.uniform() * (_DARK - _FAIR)
    hair = color_of(rng.uniform(0.04, 0.12), saturation=0.6, value=rng.uniform(0.08, 0.45))
    felt = color_of(rng.uniform(), saturation=0.7, value=rng.uniform(0.5, 0.9))
    image = _ground(size, rng)
    x, y = pixel_axes(size, center)
    # Of the face: `u` across in half-widths, `v` up in half-heights; one unit is `k` pixels.
    u = (x * np.cos(turn) + y * np.sin(turn)) / half_width
    v = (y * np.cos(turn) - x * np.sin(turn)) / half_height
    k = half_width
    oval = (np.hypot(u, v) - 1) * k
    _distractors(image, x, y, 1.6 * half_height, rng)

    bands = _box(np.abs(u) - 1.0, v + 0.25, 0.22, 0.75) * k
    if long_hair:
        paint(image, soft(bands), hair)
    paint(image, soft(oval), skin)
    cap = np.maximum(oval, (0.66 + 0.1 * u**2 - v) * k)
    paint(image, soft(cap), hair)
    nose = _box(u, v + 0.1, 0.05, 0.12) * k
    paint(image, soft(nose), 0.8 * skin)

    eyes = np.minimum(*(np.hypot(u - across, v - _EYE_UP) for across in _EYES))
    if open_eyes:
        paint(image, soft((eyes - 0.17) * k), (0.97, 0.97, 0.97))
        paint(image, soft((eyes - 0.09) * k), (0.08, 0.08, 0.1))
    else:
        lids = np.minimum(*(_box(u - across, v - _EYE_UP, 0.16, 0.035) for across in _EYES))
        paint(image, soft(lids * k), 0.3 * skin)
    rims = np.abs(eyes - 0.27) - 0.04
    frame = np.minimum(rims, _box(u, v - _EYE_UP, 0.13, 0.04)) * k
    if glasses:
        paint(image, soft(frame), (0.05, 0.05, 0.12))
    bar = _box(u, v - _MOUSTACHE_UP, 0.28, 0.07) * k
    if moustache:
        paint(image, soft(bar), 0.5 * hair)
    bend = 1.2 * (u**2 - 0.06) * (1 if smiling else -1)
    mouth = np.maximum(np.abs(v - _MOUTH_UP - bend) - 0.055, np.abs(u) - 0.35) * k
    paint(image, soft(mouth), (0.6, 0.1, 0.12))
    crown = np.maximum(np.abs(v - 1.0) - 0.3, np.abs(u) - (0.95 - 0.25 * v)) * k
    brim = _box(u, v - 0.68, 1.05, 0.06) * k
    if hat:
        paint(image, soft(np.minimum(crown, brim)), felt)
        paint(image, soft(np.maximum(crown, np.abs(v - 0.8) * k - 0.06 * k)), 0.5 * felt)

    regions = [
        oval,
        _box(u, v - _MOUTH_UP, 0.38, 0.17) * k,
        (eyes - 0.2) * k,
        np.minimum(eyes - 0.33, _box(u, v - _EYE_UP, 0.14, 0.08)) * k,
        _box(u, v - 0.95, 1.08, 0.37) * k,
        _box(u, v - _MOUSTACHE_UP, 0.3, 0.09) * k,
        _box(np.abs(u) - 1.0, v + 0.25, 0.24, 0.78) * k,
    ]
    # A pixel that is covered in the least belongs to the region.
    masks = np.stack([soft(region - 0.5) > 0 for region in regions]).astype(np.uint8)
    image = image * rng.uniform(0.7, 1.3) + 0.03 * rng.standard_normal(image.shape)
    return image.clip(0, 1).astype(np.float32), masks


def _ground(size: int, rng: np.random.Generator) -> np.ndarray:
    base = color_of(rng.uniform(), saturation=0.25, value=rng.uniform(0.45, 0.75))
    light, *tints = (band_noise(size, rng, frequency=1.5) for _ in range(4))
    waves = 0.07 * light + 0.03 * np.stack(tints)
    return np.asarray((base[:, None, None] + waves).clip(0.05, 0.95))


def _distractors(
    image: np.ndarray, x: np.ndarray, y: np.ndarray, clear: float, rng: np.random.Generator
) -> None:
    """Up to two discs or squares in the ground, at least `clear` pixels from the face's middle."""
    size = image.shape[-1]
    for _ in range(rng.integers(3)):
        angle, radius = rng.uniform(0, 2 * np.pi), rng.uniform(0.05, 0.09) * size
        left, up = x - clear * np.cos(angle), y - clear * np.sin(angle)
        round_one = np.hypot(left, up) - radius
        square = _box(left, up, radius, radius)
        color = color_of(rng.uniform(), saturation=0.6, value=rng.uniform(0.4, 0.9))
        paint(image, soft(round_one if rng.integers(2) else square), color)


def _box(across: np.ndarray, up: np.ndarray, half_width: float, half_height: float) -> np.ndarray:
    return np.asarray(np.maximum(np.abs(across) - half_width, np.abs(up) - half_height))
