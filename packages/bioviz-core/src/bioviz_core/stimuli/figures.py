"""Textured shapes on textured grounds with exact masks, and the soft drawing that they need."""

from __future__ import annotations

from colorsys import hsv_to_rgb
from functools import partial

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.stimuli.gratings import turned_axes
from bioviz_core.stimuli.sources import ArraySource, generate

SHAPES = ("disc", "square", "triangle", "star", "blob")


def textured_figures(count: int = 100, *, size: int = 64, seed: int = 0) -> ArraySource:
    """`count` images of one shape each: `masks` is 1 on it, `labels` is its kind in `SHAPES`.

    A shape covers about 5 to 40 % of the image, lies wholly inside, and as often far from the
    middle as near it. Its texture's orientation is at least 40 degrees from the ground's.
    """
    return generate(partial(_figure, size), count, seed, classes=len(SHAPES))


def synthetic_figure_ground(n: int, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`(images (n, 3, size, size) float32, masks (n, size, size) uint8)` of textured shapes."""
    found = textured_figures(n, size=size, seed=seed)
    return found.column("inputs"), found.column("masks")


def soft(distance: np.ndarray) -> np.ndarray:
    """Coverage of a pixel by a shape, from its signed distance in pixels, negative inside."""
    return np.asarray((0.5 - distance).clip(0, 1))


def paint(image: np.ndarray, coverage: np.ndarray, color: ArrayLike) -> None:
    """Lay a colour on `(3, height, width)`, in place, as far as each pixel is covered."""
    image += coverage * (np.asarray(color, image.dtype).reshape(3, 1, 1) - image)


def band_noise(
    size: int, rng: np.random.Generator, *, frequency: float, angle: float
) -> np.ndarray:
    """Noise `(size, size)` of mean 0 and variance 1 about `frequency` cycles per image.

    Its waves run along `angle` in degrees, within about 15 degrees.
    """
    u = np.fft.fftfreq(size, 1 / size)
    fx, fy = np.meshgrid(u, -u)
    octaves = np.log2(np.maximum(np.hypot(fx, fy) / frequency, 1e-6))
    turn = np.sin(np.arctan2(fy, fx) - np.deg2rad(angle)) / np.sin(np.deg2rad(15))
    window = np.exp(-0.5 * ((octaves / 0.35) ** 2 + turn**2))
    noise = np.fft.ifft2(window * np.fft.fft2(rng.standard_normal((size, size)))).real
    return np.asarray((noise - noise.mean()) / noise.std())


def _figure(size: int, rng: np.random.Generator) -> dict[str, ArrayLike]:
    label = int(rng.integers(len(SHAPES)))
    radius = rng.uniform(0.18, 0.36) * size
    room = size / 2 - radius - 1
    x, y = turned_axes(size, 0, tuple(rng.uniform(-room, room, size=2)))
    turned = np.arctan2(y, x) - rng.uniform(0, 2 * np.pi)
    # The edge leans: its distance is that along the ray, shortened by the slope.
    distance = (np.hypot(x, y) - radius * _outline(SHAPES[label], turned, rng)) * 0.8
    alpha = soft(distance)
    angle, hue = rng.uniform(0, 180), rng.uniform()
    ground = _texture(size, angle, hue, rng)
    figure = _texture(size, angle + rng.uniform(40, 140), hue + rng.uniform(0.3, 0.7), rng)
    image = ground * (1 - alpha) + figure * alpha
    masks = (alpha >= 0.5).astype(np.uint8)
    return {"inputs": image.astype(np.float32), "masks": masks, "labels": label}


def _texture(size: int, angle: float, hue: float, rng: np.random.Generator) -> np.ndarray:
    frequency = size * rng.uniform(0.08, 0.14)
    wave = np.tanh(1.5 * band_noise(size, rng, frequency=frequency, angle=angle))
    dark = np.array(hsv_to_rgb(hue, 0.55, rng.uniform(0.25, 0.4)))[:, None, None]
    light = np.array(hsv_to_rgb(hue + 0.06, 0.35, rng.uniform(0.75, 0.9)))[:, None, None]
    return np.asarray(dark + (light - dark) * (0.5 + 0.5 * wave))


def _outline(shape: str, angle: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """How far a shape of radius 1 reaches at each angle in radians."""
    if shape == "disc":
        return np.ones_like(angle)
    if shape in ("square", "triangle"):
        sector = np.pi / {"square": 4, "triangle": 3}[shape]
        return np.asarray(np.cos(sector) / np.cos(angle % (2 * sector) - sector))
    bumps = np.cos(5 * angle)
    if shape == "blob":
        waves = [rng.uniform(0.3, 1) * np.cos(k * angle + rng.uniform(0, 6.3)) for k in (2, 3, 4)]
        bumps = np.sum(waves, axis=0)
    return np.asarray(0.72 + 0.28 * bumps / np.abs(bumps).max())
