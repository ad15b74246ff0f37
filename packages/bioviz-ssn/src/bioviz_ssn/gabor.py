"""Gabor filters of the V1 model: what an image drives each middle cell with, and the noise of it.

A Gabor filter is the sum of two products of a function of x and one of y, and all of these
functions, smooth as they are, lie in a space of some 40 dimensions in float32 (63 in float64): one
basis for both axes makes 1,600 numbers of an image of 16,641 pixels, and of each filter too, with
nothing lost but what rounding takes.

Noise is added to the images' pixels after they are rounded, so filtered noise is exactly Gaussian
with covariance `noise^2 F F^T`: a draw of 162 numbers stands for one of 16,641 pixels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.stimuli import PUBLISHED, StimulusSpec, grating

WIDTH = 0.27
"""Degrees: the standard deviation of the Gaussian window."""
MATCHED = 80.0
"""What a centred grating of a filter's own orientation and phase gives, on average over cells."""
STEP = 0.25
"""Degrees between the orientations of a `DriveTable`."""
GRID = GridSpec()

_CHUNK = 64


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class GaborBank:
    """Filters of each phase of the first half turn and grid point, and the input gains.

    Over pixels `(y, x)` a filter is `B C B^T` before the gains, with one `basis` `B (size, k)` of
    orthonormal columns, and `C (k, k)` its row of `coefficients (phases / 2, points, k^2)`. The
    other half of the phases are the negatives, and E and I cells share them, so only a quarter of
    the filters of all cells is stored. `gains (2,)` are those onto E and I cells. Pass a bank to
    jit as an argument: closed over, XLA would fold its products for tens of seconds.
    """

    basis: Array
    coefficients: Array
    gains: Array
    spec: StimulusSpec = field(default=PUBLISHED, metadata={"static": True})

    @classmethod
    def create(
        cls,
        orientations: ArrayLike,
        gains: ArrayLike,
        grid: GridSpec = GRID,
        spec: StimulusSpec = PUBLISHED,
        *,
        phases: int = 4,
    ) -> GaborBank:
        """From preferred orientations `(points^2,)` in degrees, row-major, and g of E and I.

        A filter is `A exp(-rho^2 / (2 0.27^2)) cos(2 pi k (dx cos t + dy sin t) + phase)` less its
        mean over pixels; A makes the response to matched, centred gratings 80 on average.
        """
        preferred = np.asarray(orientations, float)
        if preferred.shape != (grid.points**2,):
            raise ParameterError(
                f"orientations must be ({grid.points**2},) for {grid}, got {preferred.shape}"
            )
        if phases < 2 or phases % 2:
            raise ParameterError(
                f"phases must be even, got {phases}: every filter comes with its negative"
            )
        g = np.asarray(gains, float)
        if g.shape != (2,) or not (g > 0).all():
            raise ParameterError(f"gains must be two positive numbers, of E and I, got {g}")
        x, y = (axis.ravel() / grid.magnification for axis in grid.coordinates)
        t = np.deg2rad(preferred)
        along_x, along_y = _waves(np.cos(t), x, spec), _waves(np.sin(t), y, spec)
        basis = _basis(np.concatenate([along_x, along_y]), jnp.asarray(g).dtype)
        flat = basis.sum(0)
        whole = (along_y @ basis)[:, :, None] * (along_x @ basis)[:, None, :]
        mean = along_x.sum(1) * along_y.sum(1) / spec.size**2
        whole -= mean[:, None, None] * np.outer(flat, flat)
        turns = [np.pi * 2 * j / phases for j in range(phases // 2)]
        filters = [_amplitude(preferred, turn, spec) * _real(whole, turn) for turn in turns]
        coefficients = np.reshape(filters, (len(turns), len(preferred), -1))
        return cls(jnp.asarray(basis), jnp.asarray(coefficients), jnp.asarray(g), spec)

    @property
    def rows(self) -> np.ndarray:
        """The filters as a matrix over pixels, `(phases / 2 * points, pixels)`."""
        basis = np.asarray(self.basis)
        small = np.asarray(self.coefficients).reshape(-1, basis.shape[1], basis.shape[1])
        rows: np.ndarray = np.swapaxes(basis @ small @ basis.T, 1, 2).reshape(len(small), -1)
        return rows

    def responses(self, images: Any) -> Any:
        """What the filters give for images `(..., size, size)`: `(..., phases / 2, points)`.

        Before the gains. NumPy in, NumPy out, in the images' precision.
        """
        xp = jnp if isinstance(images, jax.Array) else np
        basis, filters = (xp.asarray(x, images.dtype) for x in (self.basis, self.coefficients))
        small = xp.swapaxes(images @ basis, -1, -2) @ basis
        flat = small.reshape(*images.shape[:-2], -1) @ filters.reshape(-1, filters.shape[-1]).T
        return flat.reshape(*images.shape[:-2], *filters.shape[:2])

    def drive(self, images: ArrayLike) -> Array:
        """What images `(..., size, size)` drive the cells with: `(..., phases, 2, points)`.

        Before rectification and baseline; E before I. Images of any type count in the filters'.
        """
        size = self.spec.size
        shown = jnp.asarray(images).astype(self.basis.dtype)
        if shown.shape[-2:] != (size, size):
            raise ParameterError(
                f"images must be (..., {size}, {size}) for {self.spec}, got {shown.shape}"
            )
        return expand(self.responses(shown), self.gains)

    def noise_factor(self) -> Array:
        """The symmetric root of the covariance `noise^2 F F^T` of filtered pixel noise.

        `(n, n)` for the n = phases / 2 * points rows. Symmetric, hence unique, and defined where
        filters are so alike that a Cholesky factor fails.
        """
        filters = np.asarray(self.coefficients, float)
        rows = filters.reshape(-1, filters.shape[-1])  # B leaves products as they are
        values, vectors = np.linalg.eigh(rows @ rows.T)
        root = vectors * np.sqrt(np.maximum(values, 0)) @ vectors.T
        return jnp.asarray(self.spec.noise * root, self.basis.dtype)

    def table(self, *, phase: float = 0.0, step: float = STEP) -> DriveTable:
        """The clean responses to gratings of every `step` degrees of orientation, by interpolation.

        On the published grid an interpolated drive is off by 0.02 (standard deviation) before the
        gains, where pixel noise has a standard deviation of 1.9; at most by 0.31, within 0.1
        degrees of a horizontal or vertical grating, whose bars are floored as a whole. The floor
        makes most of it: half the step leaves 0.018.
        """
        # Only a cosine looks the same when it is turned by 180 degrees.
        period = 180 if phase % np.pi == 0 else 360
        count = round(period / step)
        if step <= 0 or not np.isclose(count * step, period):
            raise ParameterError(f"step must divide {period} degrees, got {step}")
        angles = np.arange(count) * step
        shown = (
            grating(angles[i : i + _CHUNK], self.spec, phase=phase) for i in range(0, count, _CHUNK)
        )
        clean = np.concatenate([self.responses(images) for images in shown])
        return DriveTable(
            jnp.asarray(clean, self.basis.dtype), self.noise_factor(), self.gains, period
        )


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class DriveTable:
    """Drives of noisy gratings without their pixels: a bank's responses by orientation.

    `clean (orientations, phases / 2, points)` over a period of 180 or 360 degrees, `factor (n, n)`
    as `GaborBank.noise_factor`, `gains (2,)`. Tables of several networks can be stacked leaf by
    leaf and vmapped over.
    """

    clean: Array
    factor: Array
    gains: Array
    period: int = field(default=180, metadata={"static": True})

    def drive(self, orientations: ArrayLike, normals: ArrayLike | None = None) -> Array:
        """Drives `(..., phases, 2, points)` of gratings `(...,)` in degrees.

        `normals (..., n)` are standard normal numbers, the noise of each; none, and there is none.
        """
        responses = self._interpolate(jnp.asarray(orientations))
        if normals is not None:
            noise = jnp.asarray(normals, self.factor.dtype) @ self.factor
            responses = responses + noise.reshape(responses.shape)
        return expand(responses, self.gains)

    def _interpolate(self, orientations: Array) -> Array:
        count = len(self.clean)
        place = (orientations % self.period * (count / self.period)).astype(self.clean.dtype)
        before = jnp.floor(place)
        share = (place - before)[..., None, None]
        i = before.astype(int) % count
        return (1 - share) * self.clean[i] + share * self.clean[(i + 1) % count]


def expand(responses: Array, gains: Array) -> Array:
    """Responses of half the phases `(..., phases / 2, points)` as `(..., phases, 2, points)`."""
    both = jnp.concatenate([responses, -responses], axis=-2)
    return both[..., None, :] * gains[:, None]


def _waves(along: np.ndarray, centers: np.ndarray, spec: StimulusSpec) -> np.ndarray:
    """Factors of Gabor filters along one axis, `exp(-d^2 / (2 0.27^2) + 2 pi i k d along)`.

    `(points, size)`, with d the distance in degrees from `centers`.
    """
    d = spec.line - centers[:, None]
    wave = 2j * np.pi * spec.frequency * d * along[:, None]
    return np.asarray(np.exp(-0.5 * (d / WIDTH) ** 2 + wave))


def _basis(waves: np.ndarray, dtype: np.dtype[Any]) -> np.ndarray:
    """Orthonormal `(size, k)`, which holds all of `waves`, and the constant, up to rounding."""
    given = np.concatenate([waves.real, waves.imag, np.ones((1, waves.shape[1]))])
    _, values, vectors = np.linalg.svd(given, full_matrices=False)
    kept: np.ndarray = vectors[values > 2 * np.finfo(dtype).eps * values[0]].T
    return kept


def _real(whole: np.ndarray, phase: float) -> np.ndarray:
    part: np.ndarray = (whole * np.exp(1j * phase)).real
    return part


def _amplitude(preferred: np.ndarray, phase: float, spec: StimulusSpec) -> float:
    """A: what centred filters make of their own gratings is `MATCHED` on average."""
    t, center = np.deg2rad(preferred), np.zeros(len(preferred))
    along_x, along_y = _waves(np.cos(t), center, spec), _waves(np.sin(t), center, spec)
    shown = grating(preferred, spec, phase=phase)
    whole = np.einsum("px,pxy,py->p", along_x, shown, along_y, optimize=True)
    whole -= along_x.sum(1) * along_y.sum(1) * shown.mean((1, 2))
    return MATCHED / float(np.mean(_real(whole, phase)))
