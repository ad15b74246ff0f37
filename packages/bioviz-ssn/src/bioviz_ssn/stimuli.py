"""The published grating image, pixel for pixel.

Plain gratings on [0, 1] come from `bioviz_core.stimuli.gratings`; this is the chain of grey levels,
alpha mask and floor that the V1 model was built on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError

GRAY = 128.0
"""The mean grey level, of 256."""
SCALE = 3.0
"""What the published code multiplies every image by; the filters undo it."""
OPAQUE = 255 / 256
"""The mask's largest share of the grating."""
EDGE = 20 / 6
"""Pixels: the standard deviation of the aperture's soft edge."""


@dataclass(frozen=True, slots=True)
class StimulusSpec:
    """A square image of the visual field about fixation, and the grating shown in it.

    The field reaches `half_width` degrees from the centre at `resolution` pixels per degree;
    gratings have `frequency` cycles per degree, Michelson `contrast` and an aperture of `radius`
    degrees. `noise` is the standard deviation of each pixel, in grey levels times three.
    """

    half_width: float = 3.2
    resolution: float = 20.0
    frequency: float = 1.0
    contrast: float = 0.8
    radius: float = 2.5
    noise: float = 100.0

    def __post_init__(self) -> None:
        positive = (self.half_width, self.resolution, self.frequency, self.radius)
        if not all(0 < value < np.inf for value in positive):
            raise ParameterError(
                f"half_width, resolution, frequency and radius must be positive, got {self}"
            )
        if not 0 <= self.contrast <= 1 or not 0 <= self.noise < np.inf:
            raise ParameterError(f"contrast must be in [0, 1] and noise not negative, got {self}")

    @property
    def size(self) -> int:
        """Pixels along each side."""
        return 2 * round(self.half_width * self.resolution) + 1

    @property
    def line(self) -> np.ndarray:
        """Degrees of the pixels along either axis."""
        return np.linspace(-self.half_width, self.half_width, self.size)


PUBLISHED = StimulusSpec()


def grating(
    orientation: ArrayLike,
    spec: StimulusSpec = PUBLISHED,
    *,
    phase: ArrayLike = 0.0,
    contrast: ArrayLike | None = None,
    radius: ArrayLike | None = None,
    center: ArrayLike = (0.0, 0.0),
    full_field: bool = False,
) -> Any:
    """`3 floor(a g + (1 - a) 128)`, noise-free: `(..., size, size)`, the first axis being x.

    g = 128 (1 + C cos(2 pi k (x cos t + y sin t) + phase)) for the orientation t in degrees; the
    mask a is 255 / 256 within `radius` degrees of `center (..., 2)` and falls off as a Gaussian.
    Orientation, phase, contrast, radius and centre broadcast. `full_field` leaves out the mask.
    NumPy in, NumPy out; JAX arrays give JAX arrays, also under jit. In the precision of
    `orientation`; where the grey level is whole, rounding decides the floor.
    """
    c = spec.contrast if contrast is None else contrast
    r = spec.radius if radius is None else radius
    xp = _namespace(orientation, phase, c, r, center)
    angle, turn, c, r = (xp.asarray(value)[..., None, None] for value in (orientation, phase, c, r))
    dtype = xp.result_type(angle.dtype, xp.float32 if xp is jnp else xp.float64)
    t = (angle * (np.pi / 180)).astype(dtype)
    line = xp.asarray(spec.line, dtype)
    middle = xp.asarray(center, dtype)[..., None, None]
    x, y = line[:, None] - middle[..., 0, :, :], line - middle[..., 1, :, :]
    wave = 2 * np.pi * spec.frequency * (x * xp.cos(t) + y * xp.sin(t)) + turn
    g = GRAY * (1 + c * xp.cos(wave))
    alpha = OPAQUE if full_field else _alpha(xp, x, y, r, spec)
    image = alpha * g + (1 - alpha) * GRAY
    return (SCALE * xp.floor(image)).astype(dtype)


def _alpha(xp: Any, x: Any, y: Any, radius: Any, spec: StimulusSpec) -> Any:
    """The mask; beyond the half-width of the image, in whole pixels, there is none."""
    pixels = xp.sqrt(xp.round(x * spec.resolution) ** 2 + xp.round(y * spec.resolution) ** 2)
    beyond = xp.maximum(pixels / spec.resolution - radius, 0) * spec.resolution
    alpha = OPAQUE * xp.exp(-(beyond**2) / (2 * EDGE**2))
    return xp.where(pixels > spec.half_width * spec.resolution, 0, alpha)


def _namespace(*values: Array | ArrayLike) -> Any:
    return jnp if any(isinstance(value, jax.Array) for value in values) else np
