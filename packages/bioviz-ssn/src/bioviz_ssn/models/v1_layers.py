"""The middle and the superficial layer of the V1 model of perceptual learning."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.connectivity import TRAINED, HorizontalKernel, middle_weights, tuning
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.geometry import GridSpec, ring_distance
from bioviz_ssn.models.network import time_constants
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.steady_state import System

TAU = (20.0, 10.0)
LAW = PowerLaw()
GRID = GridSpec()


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class MiddleLayer:
    """Isolated E-I pairs, one for each grid point and phase; parameters are `LayerParams`.

    Rates and drives are `(..., phases, 2, points)`, E before I. `to_trained (points,)` is the ring
    distance, in degrees, of a point's preference from the trained orientation.
    """

    to_trained: Array
    tau: Array
    law: PowerLaw = field(default=LAW, metadata={"static": True})

    @classmethod
    def create(
        cls,
        orientations: ArrayLike,
        *,
        trained: float = TRAINED,
        tau: tuple[float, float] = TAU,
        law: PowerLaw = LAW,
    ) -> MiddleLayer:
        """From the preferred orientations of the points, in degrees."""
        to_trained = jnp.asarray(ring_distance(np.asarray(orientations) - trained))
        return cls(to_trained, time_constants(tau, 2, to_trained.dtype), law)

    def system(self, params: LayerParams, drive: Array, /) -> System:
        """The equations for what the filters give: it is rectified, and baselines are added."""
        points = len(self.to_trained)
        if drive.ndim < 3 or drive.shape[-2:] != (2, points):
            raise ParameterError(
                f"the drive must be (..., phases, 2, {points}), E before I, got {drive.shape}"
            )
        dtype = params.log_j.dtype
        weights = middle_weights(params.log_j, params.kappa, self.to_trained.astype(dtype))
        h = jnp.maximum(jnp.asarray(drive, dtype), 0) + params.baseline[:, None]
        return System(weights, h, self.tau.astype(dtype), self.law, axis=-2)

    def output(self, rates: Array) -> Array:
        """What the superficial layer gets, `(..., points)`: E rates summed over phases."""
        return jnp.sum(rates[..., 0, :], axis=-2)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class SuperficialLayer:
    """One network of all points, with horizontal connections; parameters are `SSNParams`.

    Rates are `(..., 2 points)`, E before I; the input is the middle layer's output `(..., points)`.
    With `legacy`, the I cells' feedforward tuning is `exp(tanh(kappa) d)`, as the published code
    has it, rather than the Gaussian form of the E cells.
    """

    kernel: HorizontalKernel
    tau: Array
    law: PowerLaw = field(default=LAW, metadata={"static": True})
    couple_baselines: bool = field(default=True, metadata={"static": True})
    legacy: bool = field(default=False, metadata={"static": True})

    @classmethod
    def create(
        cls,
        orientations: ArrayLike,
        grid: GridSpec = GRID,
        *,
        p_local: tuple[float, float] = (0.4, 0.7),
        trained: float = TRAINED,
        tau: tuple[float, float] = TAU,
        law: PowerLaw = LAW,
        couple_baselines: bool = True,
        legacy: bool = False,
    ) -> SuperficialLayer:
        """From the preferred orientations of a grid's points, in degrees."""
        preferred = np.asarray(orientations)
        if preferred.shape != (grid.points**2,):
            raise ParameterError(
                f"orientations must be ({grid.points**2},) for {grid}, got {preferred.shape}"
            )
        kernel = HorizontalKernel.create(
            grid.distances, preferred, p_local=p_local, trained=trained
        )
        times = np.repeat(np.asarray(time_constants(tau, 2, kernel.reach.dtype)), grid.points**2)
        return cls(kernel, jnp.asarray(times), law, couple_baselines, legacy)

    def feedforward(self, params: SSNParams, middle: Array) -> Array:
        """`f tuning(kappa_f) x + c` for E and I cells: `(..., 2 points)`."""
        far = self.kernel.to_trained.astype(middle.dtype)
        bend = tuning(params.kappa_f, far)
        if self.legacy:
            bend = bend.at[1].set(jnp.exp(jnp.tanh(params.kappa_f[1]) * far))
        layer = params.middle if self.couple_baselines else params.superficial
        scale = jnp.exp(params.log_f)[:, None] * bend
        h = middle[..., None, :] * scale + layer.baseline[:, None]
        return h.reshape(*middle.shape[:-1], 2 * len(far))

    def system(self, params: SSNParams, middle: Array, /) -> System:
        """The equations for the middle layer's output `(..., points)`."""
        own = params.superficial
        middle = jnp.asarray(middle, own.log_j.dtype)
        if middle.shape[-1:] != self.kernel.to_trained.shape:
            raise ParameterError(
                f"the middle layer's output must be (..., {len(self.kernel.to_trained)}), "
                f"got {middle.shape}"
            )
        weights = self.kernel.weights(own.log_j, own.kappa).astype(middle.dtype)
        h = self.feedforward(params, middle)
        return System(weights, h, self.tau.astype(middle.dtype), self.law)
