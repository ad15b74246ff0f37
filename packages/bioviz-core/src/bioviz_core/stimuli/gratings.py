"""Gratings, Gabors and plaids.

`orientation` is the direction of modulation in degrees, counterclockwise from the right: at 0 the
bars stand upright. `wavelength`, `sigma`, `center` and `radius` are in pixels, `center` from the
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
    center: Center = (0.0, 0.0),
    radius: float | None = None,
) -> np.ndarray:
    """`0.5 (1 + contrast cos(2 pi u / wavelength + phase))` with `u` along the orientation.

    float32 `(size, size)` in [0, 1]; behind `radius` it fades to grey over a quarter of it.
    """
    return _image(contrast * _wave(size, orientation, wavelength, phase, center), radius, center)


def plaid(
    size: int,
    *,
    orientations: tuple[float, float] = (0.0, 90.0),
    contrasts: tuple[float, float] = (0.5, 0.5),
    wavelength: float = 8.0,
    phase: float = 0.0,
    center: Center = (0.0, 0.0),
    radius: float | None = None,
) -> np.ndarray:
    """Two gratings added; their contrasts may add up to 1. float32 `(size, size)` in [0, 1]."""
    waves = [_wave(size, angle, wavelength, phase, center) for angle in orientations]
    return _image(contrasts[0] * waves[0] + contrasts[1] * waves[1], radius, center)


def gabor(
    size: int,
    *,
    orientation: float = 0.0,
    wavelength: float = 8.0,
    sigma: float = 4.0,
    aspect: float = 1.0,
    phase: float = 0.0,
    center: Center = (0.0, 0.0),
    support: float | None = None,
) -> np.ndarray:
    """`exp(-(u^2 / sigma^2 + v^2 aspect^2 / sigma^2) / 2) cos(2 pi u / wavelength + phase)`.

    `u` runs along the orientation, `v` at right angles, where a small `aspect` makes it long.
    Signed float32 `(size, size)` about 0: show it as `0.5 (1 + contrast gabor)`. `support` cuts it
    to 0 beyond that many sigmas, either way.
    """
    _positive(sigma=sigma, aspect=aspect)
    u, v = _axes(size, orientation, center)
    u_sigmas, v_sigmas = u / sigma, v * aspect / sigma
    found = np.exp(-0.5 * (u_sigmas**2 + v_sigmas**2))
    found = found * _wave(size, orientation, wavelength, phase, center)
    if support is not None:
        found = found * ((np.abs(u_sigmas) <= support) & (np.abs(v_sigmas) <= support))
    return np.asarray(found, np.float32)


def michelson(image: np.ndarray) -> float:
    """Contrast of an image as rendered: `(max - min) / (max + min)`, 0 where it is black."""
    low, high = float(image.min()), float(image.max())
    return (high - low) / (high + low) if high + low > 0 else 0.0


def gratings(
    size: int = 32,
    *,
    orientations: int | Sequence[float] = 8,
    phases: int | Sequence[float] = 4,
    contrasts: Sequence[float] = (1.0,),
    wavelength: float = 8.0,
    radius: float | None = None,
) -> ArraySource:
    """Every orientation with every phase and contrast, one grey channel each.

    A number of orientations is spread over 180 degrees, of phases over a cycle. `labels` number
    the orientations; `orientation`, `phase` and `contrast` hold the values.
    """
    angles = _spread(orientations, 180.0)
    cases = list(product(range(len(angles)), contrasts, _spread(phases, 2 * np.pi)))
    images = [
        grating(
            size,
            orientation=angles[number],
            wavelength=wavelength,
            phase=phase,
            contrast=contrast,
            radius=radius,
        )
        for number, contrast, phase in cases
    ]
    labels, shown, phase_of = (np.array(values) for values in zip(*cases, strict=True))
    return ArraySource(
        inputs=np.stack(images)[:, None],
        labels=labels,
        orientation=np.asarray(angles)[labels],
        phase=phase_of,
        contrast=shown,
        units={"orientation": "deg", "phase": "rad"},
    )


def pixel_axes(size: int, center: Center = (0.0, 0.0)) -> tuple[np.ndarray, np.ndarray]:
    """`(x, y)` of every pixel, each `(size, size)`, right and up from the centre."""
    line = np.arange(size) - (size - 1) / 2
    x, y = np.meshgrid(line - center[0], -line - center[1])
    return x, y


def _axes(size: int, orientation: float, center: Center) -> tuple[np.ndarray, np.ndarray]:
    x, y = pixel_axes(size, center)
    angle = np.deg2rad(orientation)
    return x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)


def _wave(
    size: int, orientation: float, wavelength: float, phase: float, center: Center
) -> np.ndarray:
    _positive(size=size, wavelength=wavelength)
    u, _ = _axes(size, orientation, center)
    return np.asarray(np.cos(2 * np.pi * u / wavelength + phase))


def _image(wave: np.ndarray, radius: float | None, center: Center) -> np.ndarray:
    if radius is not None:
        _positive(radius=radius)
        x, y = pixel_axes(len(wave), center)
        beyond = np.clip((np.hypot(x, y) - radius) / (0.25 * radius), 0, 1)
        wave = wave * (0.5 + 0.5 * np.cos(np.pi * beyond))
    image = 0.5 * (1 + wave)
    if image.min() < -1e-9 or image.max() > 1 + 1e-9:
        raise ValueError(
            f"the image runs from {image.min():.2f} to {image.max():.2f}: contrasts must be "
            "positive and add up to 1 at most"
        )
    return np.asarray(image.clip(0, 1), np.float32)


def _spread(values: int | Sequence[float], period: float) -> list[float]:
    if isinstance(values, int):
        return [period * number / values for number in range(values)]
    return [float(value) for value in values]


def _positive(**values: float) -> None:
    for name, value in values.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, got {value}")
