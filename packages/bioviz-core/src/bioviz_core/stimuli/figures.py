"""Textured shapes on textured grounds with exact masks, and the soft drawing that they need."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bioviz_core.stimuli.gratings import pixel_axes
from bioviz_core.stimuli.sources import ArraySource, sample_rng

SHAPES = ("disc", "square", "triangle", "star", "blob")


def textured_figures(count: int = 100, *, size: int = 64, seed: int = 0) -> ArraySource:
    """`count` images of one shape each: `masks` is 1 on it, `labels` is its kind in `SHAPES`."""
    images, masks, labels = draw_figures(count, size=size, seed=seed)
    return ArraySource(inputs=images, masks=masks, labels=labels, classes=len(SHAPES))


def synthetic_figure_ground(n: int, size: int = 64, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """`(images (n, 3, size, size) float32, masks (n, size, size) uint8)` of textured shapes."""
    return draw_figures(n, size=size, seed=seed)[:2]


def draw_figures(count: int, *, size: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`(images, masks, labels)`; one depends on the seed and its own index alone.

    A shape covers about 5 to 40 % of the image, lies wholly inside, and as often far from the
    middle as near it. Its texture's orientation is at least 40 degrees from the ground's.
    """
    images = np.empty((count, 3, size, size), np.float32)
    masks = np.empty((count, size, size), np.uint8)
    labels = np.empty(count, np.int64)
    for index in range(count):
        rng = sample_rng(seed, index)
        labels[index] = rng.integers(len(SHAPES))
        radius = rng.uniform(0.18, 0.36) * size
        room = size / 2 - radius - 1
        x, y = pixel_axes(size, tuple(rng.uniform(-room, room, size=2)))
        alpha = soft(_distance(SHAPES[labels[index]], x, y, radius, rng))
        angle = rng.uniform(0, 180)
        other = angle + rng.uniform(40, 140)
        hue = rng.uniform()
        ground = _texture(size, angle, hue, rng)
        figure = _texture(size, other, hue + rng.uniform(0.3, 0.7), rng)
        images[index] = ground * (1 - alpha) + figure * alpha
        masks[index] = alpha >= 0.5
    return images, masks, labels


def soft(distance: np.ndarray) -> np.ndarray:
    """Coverage of a pixel by a shape, from its signed distance in pixels, negative inside."""
    return np.asarray((0.5 - distance).clip(0, 1))


def paint(image: np.ndarray, coverage: np.ndarray, color: ArrayLike) -> None:
    """Lay a colour on `(3, height, width)`, in place, as far as each pixel is covered."""
    image += coverage * (np.asarray(color, image.dtype).reshape(3, 1, 1) - image)


def band_noise(
    size: int, rng: np.random.Generator, *, frequency: float, angle: float | None = None
) -> np.ndarray:
    """Noise `(size, size)` of mean 0 and variance 1 about `frequency` cycles per image.

    With an `angle` in degrees its waves run that way, within about 15 degrees; else every way.
    """
    u = np.fft.fftfreq(size, 1 / size)
    fx, fy = np.meshgrid(u, -u)
    away = np.hypot(fx, fy) / frequency
    window = np.exp(-0.5 * (np.log2(np.maximum(away, 1e-6)) / 0.35) ** 2)
    if angle is not None:
        turn = np.arctan2(fy, fx) - np.deg2rad(angle)
        window = window * np.exp(-0.5 * (np.sin(turn) / np.sin(np.deg2rad(15))) ** 2)
    noise = np.fft.ifft2(window * np.fft.fft2(rng.standard_normal((size, size)))).real
    return np.asarray((noise - noise.mean()) / noise.std())


def color_of(hue: float, *, saturation: float, value: float) -> np.ndarray:
    """RGB of a hue in turns; `saturation` and `value` in [0, 1]."""
    ramp = (np.abs((hue * 6 + np.array([0.0, 4.0, 2.0])) % 6 - 3) - 1).clip(0, 1)
    return np.asarray(value * (1 - saturation * (1 - ramp)))


def _texture(size: int, angle: float, hue: float, rng: np.random.Generator) -> np.ndarray:
    frequency = size * rng.uniform(0.08, 0.14)
    wave = np.tanh(1.5 * band_noise(size, rng, frequency=frequency, angle=angle))
    dark = color_of(hue, saturation=0.55, value=rng.uniform(0.25, 0.4))[:, None, None]
    light = color_of(hue + 0.06, saturation=0.35, value=rng.uniform(0.75, 0.9))[:, None, None]
    return np.asarray(dark + (light - dark) * (0.5 + 0.5 * wave), np.float32)


def _distance(
    shape: str, x: np.ndarray, y: np.ndarray, radius: float, rng: np.random.Generator
) -> np.ndarray:
    """Signed distance to the edge of a turned shape that reaches to `radius`."""
    turned = np.arctan2(y, x) - rng.uniform(0, 2 * np.pi)
    away = np.hypot(x, y)
    if shape == "disc":
        return np.asarray(away - radius)
    if shape in ("square", "triangle"):
        corners = {"square": 4, "triangle": 3}[shape]
        sector = np.pi / corners
        within = (turned % (2 * sector)) - sector
        return np.asarray(away * np.cos(within) - radius * np.cos(sector))
    if shape == "star":
        edge = radius * (0.72 + 0.28 * np.cos(5 * turned))
    else:
        waves = [rng.uniform(0.3, 1) * np.cos(k * turned + rng.uniform(0, 6.3)) for k in (2, 3, 4)]
        bumps = np.sum(waves, axis=0)
        edge = radius * (0.72 + 0.28 * bumps / max(np.abs(bumps).max(), 1e-9))
    # The edge leans: its distance is that along the ray, shortened by the slope.
    return np.asarray((away - edge) * 0.8)
