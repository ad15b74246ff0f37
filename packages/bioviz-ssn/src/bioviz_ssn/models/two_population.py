"""One excitatory and one inhibitory population."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Field, Objective, Refusal, Synapse
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.models.network import RATES, Recurrent, time_constants
from bioviz_ssn.parameters import log_weights, signed_weights
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.steady_state import System

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
    objective: Objective | None = field(default=RATES, metadata={"static": True})

    @classmethod
    def create(
        cls,
        weights: ArrayLike = WEIGHTS,
        *,
        tau: ArrayLike = (20.0, 10.0),
        n: float = 2.0,
        k: float = 0.04,
        objective: Objective | None = RATES,
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

    def synapses(self, drive: Array, /) -> dict[str, Synapse]:
        """The weights J, with the steady rates at both ends."""
        rates = self(drive).reshape(-1, 2)
        return {"recurrent": Synapse(rates, rates, self.weights)}

    def nudge(self, deltas: Mapping[str, Array], /) -> TwoPopulationSSN:
        """Add to J; a weight stops short of changing its sign."""
        change = jnp.maximum(deltas["recurrent"] / self.weights, -0.99)
        return replace(self, params=self.params + jnp.log1p(change))


def for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """Nothing is left to decide where inputs are the drives to E and I."""
    if (shape := fields["inputs"].shape) != (2,):
        why = f"two populations take two drives, inputs are {shape}"
        raise IncompatibleError([Refusal("data", "inputs", why)])
    return {}
