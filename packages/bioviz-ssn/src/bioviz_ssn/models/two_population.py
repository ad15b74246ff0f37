"""One excitatory and one inhibitory population."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from bioviz_ssn.fixed_point import System
from bioviz_ssn.models.network import Recurrent, time_constants
from bioviz_ssn.parameters import log_weights, signed_weights
from bioviz_ssn.power_law import PowerLaw

WEIGHTS = ((1.25, -0.65), (1.2, -0.5))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TwoPopulationSSN(Recurrent):
    """`tau dr/dt = phi(J r + h) - r` for r = (E, I), as Ahmadian, Rubin & Miller 2013.

    The parameters are `log|J| (2, 2)`, so that training keeps the signs; the drive is `(..., 2)`.
    """

    params: Array
    tau: Array
    law: PowerLaw = field(default=PowerLaw(), metadata={"static": True})
    objective: Any = field(default=None, metadata={"static": True})

    @classmethod
    def create(
        cls,
        weights: ArrayLike = WEIGHTS,
        *,
        tau: ArrayLike = (20.0, 10.0),
        n: float = 2.0,
        k: float = 0.04,
        objective: Any = None,
    ) -> TwoPopulationSSN:
        """From signed weights `[[EE, EI], [IE, II]]`, rows as targets."""
        params = log_weights(weights)
        return cls(params, time_constants(tau, 2, params.dtype), PowerLaw(k, n), objective)

    @property
    def weights(self) -> Array:
        """The signed weights `J (2, 2)`."""
        return signed_weights(self.params)

    def system(self, params: Array, drive: Array, /) -> System:
        """The equations for `drive (..., 2)`."""
        drive = jnp.asarray(drive, params.dtype)
        return System(signed_weights(params), drive, self.tau, self.law, axis=-1)
