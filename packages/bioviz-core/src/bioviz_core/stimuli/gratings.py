"""Gratings, Gabors and plaids.

`orientation` is the direction of modulation in degrees, counterclockwise from the right: at 0 the
bars stand upright. `wavelength`, `sigma` and `center` are in pixels, `center` from the
image's middle, right and up. `phase` is in radians. Contrasts are Michelson's.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

import numpy as np

from bioviz_core.stimuli.sources import ArraySource

Center = tuple[float, float]


def grating(
    size: int,
    *,
    orientation: float = 0.0,
    wavelength: float = 8.0,
    phase: float = 0.0,
    contrast: float = 1.0,
) -> np.ndarray:
    """`0.5 (1 + contrast cos(2 pi u / wavelength + phase))` with `u` along the orientation.

    float32 `(size, size)` in [0, 1].
    """
    u, _ = turned_axes(size, orientation)
    return _image(contrast * _wave(u, wavelength, phase))


def plaid(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Two gratings added about grey; their contrasts may add up to 1."""
    return _image(2 * (first + second - 1))


def gabor(
    size: int,
    *,
    orientation: float = 0.0,
    wavelength: float = 8.0,
    sigma: float = 4.0,
    aspect: float = 1.0,
    phase: float = 0.0,
    center: Center = (0.0, 0.0),
    support: float = np.inf,
) -> np.ndarray:
    """`exp(-(u^2 / sigma^2 + v^2 aspect^2 / sigma^2) / 2) cos(2 pi u / wavelength + phase)`.

    `u` runs along the orientation, `v` at right angles, where a small `aspect` makes it long.
    Signed float32 `(size, size)` about 0: show it as `0.5 (1 + contrast gabor)`. `support` cuts it
    to 0 beyond that many sigmas, either way.
    """
    _check_positive(sigma=sigma, aspect=aspect)
    u, v = turned_axes(size, orientation, center)
    across, along = u / sigma, v * aspect / sigma
    window = np.exp(-0.5 * (across**2 + along**2))
    window[(np.abs(across) > support) | (np.abs(along) > support)] = 0
    return np.asarray(window * _wave(u, wavelength, phase), np.float32)


def michelson(image: np.ndarray) -> float:
    """Contrast of an image as rendered: `(max - min) / (max + min)`, 0 where it is black."""
    low, high = float(image.min()), float(image.max())
    return (high - low) / (high + low) if high + low > 0 else 0.0


def gratings(
    size: int = 32,
    *,
    orientations: int = 8,
    phases: int = 4,
    contrasts: Sequence[float] = (1.0,),
    wavelength: float = 8.0,
) -> ArraySource:
    """Every orientation with every phase and contrast, one grey channel each.

    Orientations are spread over 180 degrees, phases over a cycle. `labels` number the orientations;
    `orientation`, `phase` and `contrast` hold the values.
    """
    cases = product(range(orientations), contrasts, range(phases))
    labels, shown, phase = (np.array(values) for values in zip(*cases, strict=True))
    angle, phase = labels * 180 / orientations, phase * 2 * np.pi / phases
    images = [
        grating(size, orientation=a, contrast=c, phase=p, wavelength=wavelength)
        for a, c, p in zip(angle, shown, phase, strict=True)
    ]
    inputs = np.stack(images)[:, None]
    return ArraySource(inputs=inputs, labels=labels, orientation=angle, phase=phase, contrast=shown)


def turned_axes(
    size: int, degrees: float = 0.0, center: Center = (0.0, 0.0)
) -> tuple[np.ndarray, np.ndarray]:
    """`(u, v)` of every pixel from the centre, `(size, size)`: right and up, turned by an angle."""
    line = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(line - center[0], -line - center[1])
    angle = np.deg2rad(degrees)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _wave(u: np.ndarray, wavelength: float, phase: float) -> np.ndarray:
    _check_positive(wavelength=wavelength)
    return np.asarray(np.cos(2 * np.pi * u / wavelength + phase))


def _image(wave: np.ndarray) -> np.ndarray:
    if (contrast := np.abs(wave).max()) > 1 + 1e-6:
        raise ValueError(f"contrasts must add up to 1 at most, got {contrast:.2f}")
    return np.asarray((0.5 * (1 + wave)).clip(0, 1), np.float32)


def _check_positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
