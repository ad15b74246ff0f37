"""Where cells sit: the cortical grid, distances on the ring of orientations, orientation maps."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike
from scipy.special import chdtrc

from bioviz_ssn.errors import ParameterError


@dataclass(frozen=True, slots=True)
class GridSpec:
    """A square grid of cortical points, row-major, y increasing upwards.

    `points` per side over `size` mm, centred; `magnification` is mm of cortex per degree of vision.
    """

    points: int = 9
    size: float = 6.4
    magnification: float = 2.0

    def __post_init__(self) -> None:
        if self.points < 1 or not self.size > 0 or not self.magnification > 0:
            raise ParameterError(f"points, size and magnification must be positive, got {self}")

    @property
    def coordinates(self) -> tuple[np.ndarray, np.ndarray]:
        """x and y of every point, in mm, each `(points, points)`."""
        line = np.linspace(-self.size / 2, self.size / 2, self.points) if self.points > 1 else [0.0]
        x, y = np.meshgrid(line, line)
        return x, np.flip(y, axis=0)

    @property
    def distances(self) -> np.ndarray:
        """Distance of every pair of points, in mm: `(points^2, points^2)`."""
        x, y = (axis.ravel() for axis in self.coordinates)
        distance: np.ndarray = np.hypot(x[:, None] - x, y[:, None] - y)
        return distance

    def central(self, side: int) -> np.ndarray:
        """Indices of the central `side x side` points."""
        first = (self.points - side) // 2
        if side < 1 or first < 0 or (self.points - side) % 2:
            raise ParameterError(f"no central {side} x {side} in a grid of {self.points} per side")
        rows = np.arange(first, first + side)
        indices: np.ndarray = (rows[:, None] * self.points + rows).ravel()
        return indices


def ring_distance(difference: ArrayLike, period: float = 180.0) -> Any:
    """`(L / 2 pi) sqrt(2 (1 - cos(2 pi D / L)))` for a difference D in degrees; at most L / pi.

    A chord through the circle of orientations, as the published code has it. A JAX array for one,
    else NumPy's.
    """
    # 2 (1 - cos 2a) = 4 sin^2 a, without the cancellation near 0.
    if isinstance(difference, Array):
        return period / np.pi * jnp.abs(jnp.sin(np.pi * difference / period))
    return period / np.pi * np.abs(np.sin(np.pi * np.asarray(difference) / period))


def orientation_map(
    rng: np.random.Generator,
    grid: GridSpec = GridSpec(),
    *,
    wavelength: float = 3.2,
    waves: int = 30,
    tries: int = 100,
) -> np.ndarray:
    """Preferred orientations in [0, 180), `(points^2,)`, from superposed waves of random phase.

    `z = sum_j exp(i (s_j k_j x + phi_j))` with wave vectors of one length, 2 pi / wavelength in
    1/mm, in equally spaced directions and of random sign. Drawn anew until the centre's
    orientations look uniform; warns where no draw of `tries` does.
    """
    x, y = grid.coordinates
    centre = grid.central(min(5 if grid.points % 2 else 4, grid.points))
    for _ in range(tries):
        direction = np.arange(waves) * np.pi / waves
        k = 2 * np.pi / wavelength * np.stack([np.cos(direction), np.sin(direction)])
        sign, phase = rng.choice([-1.0, 1.0], waves), rng.uniform(0, 2 * np.pi, waves)
        z = np.exp(1j * (sign * (x[..., None] * k[0] + y[..., None] * k[1]) + phase)).sum(-1)
        # An angle of exactly pi is orientation 0 again.
        found: np.ndarray = (((np.angle(z) + np.pi) * 180 / (2 * np.pi)) % 180).ravel()
        if _is_uniform(found[centre]):
            return found
    warnings.warn(f"no orientation map of {tries} had a uniform centre", stacklevel=2)
    return found


def _is_uniform(orientations: np.ndarray) -> bool:
    """Chi-square over ten bins; a grid too small for ten bins always passes."""
    if orientations.size < 10:
        return True
    counts, _ = np.histogram(orientations, bins=10, range=(0, 180))
    statistic = ((counts - counts.mean()) ** 2).sum() / counts.mean()
    return bool(counts.min() > 0 and chdtrc(len(counts) - 1, statistic) > 0.25)
