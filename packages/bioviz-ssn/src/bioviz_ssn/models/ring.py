"""Cells on a ring of preferred orientations, as Rubin, Van Hooser & Miller 2015."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Field, Objective, Refusal
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.models.network import RATES, Recurrent, time_constants
from bioviz_ssn.parameters import log_weights, signed_weights
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.steady_state import System

WEIGHTS = ((0.044, -0.023), (0.042, -0.018))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class RingSSN(Recurrent):
    """E and I cells at `points` orientations, weights `J_ab exp(-d^2 / (2 width^2))`.

    d is the circular distance in degrees. The parameters are `log|J| (2, 2)`; the drive is
    `(..., 2 points)`, E before I, and `grating` makes it.
    """

    params: Array
    tau: Array
    kernel: Array
    law: PowerLaw = field(default=PowerLaw(), metadata={"static": True})
    objective: Objective | None = field(default=RATES, metadata={"static": True})

    @classmethod
    def create(
        cls,
        weights: ArrayLike = WEIGHTS,
        *,
        points: int = 180,
        width: float = 32.0,
        tau: tuple[float, float] = (20.0, 10.0),
        n: float = 2.0,
        k: float = 0.04,
        objective: Objective | None = RATES,
    ) -> RingSSN:
        """From signed weights `[[EE, EI], [IE, II]]`, which are not divided by their number."""
        if points < 1 or not width > 0:
            raise ParameterError(f"points and width must be positive, got {points} and {width}")
        params = log_weights(weights)
        orientations = np.arange(points) * (180 / points)
        distance = _circular(orientations[:, None] - orientations)
        kernel = jnp.asarray(np.exp(-(distance**2) / (2 * width**2)), params.dtype)
        by_cell = jnp.asarray(np.repeat(time_constants(tau, 2, params.dtype), points))
        return cls(params, by_cell, kernel, PowerLaw(k, n), objective)

    @property
    def orientations(self) -> Array:
        """Preferred orientations, in degrees, of the E cells and of the I cells."""
        points = len(self.kernel)
        return jnp.arange(points) * (180 / points)

    @property
    def weights(self) -> Array:
        """The signed weights `J (2, 2)`."""
        return signed_weights(self.params)

    def grating(self, contrast: ArrayLike, orientation: ArrayLike, *, width: float = 30.0) -> Array:
        """The drive `contrast exp(-d^2 / (2 width^2))` of a grating, to E and I cells alike.

        Contrasts and orientations broadcast; drives of several gratings add up to a plaid's.
        """
        dtype = self.params.dtype
        drive: Array = _grating(contrast, orientation, width, points=len(self.kernel), dtype=dtype)
        return drive

    def system(self, params: Array, drive: Array, /) -> System:
        """The equations for `drive (..., 2 points)`."""
        weights = jnp.kron(signed_weights(params), self.kernel)
        return System(weights, jnp.asarray(drive, params.dtype), self.tau, self.law)


def for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """Half as many orientations as there are inputs: one drive to each E and each I cell."""
    shape = fields["inputs"].shape
    if len(shape) != 1 or shape[0] % 2:
        why = f"a ring takes a flat drive to E and I cells, an even number; inputs are {shape}"
        raise IncompatibleError([Refusal("data", "inputs", why)])
    return {"points": shape[0] // 2}


@partial(jax.jit, static_argnames=("points", "dtype"))
def _grating(contrast: Any, orientation: Any, width: Any, *, points: int, dtype: Any) -> Array:
    distance = _circular(jnp.arange(points) * (180 / points) - jnp.asarray(orientation)[..., None])
    profile = jnp.asarray(contrast)[..., None] * jnp.exp(-(distance**2) / (2 * width**2))
    return jnp.concatenate([profile, profile], -1).astype(dtype)


def _circular(difference: Any) -> Any:
    """Distance of orientations, 0 to 90 degrees."""
    return abs((difference + 90) % 180 - 90)
