"""Any network of supralinear cells, and what every network here shares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Self

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.interfaces import Batch, Framework, Objective, Synapse
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.simulation import Trajectory, simulate
from bioviz_ssn.steady_state import FixedPoint, Solver, System, fixed_point


def _squared(rates: Array, batch: Batch) -> Array:
    return jnp.mean(jnp.square(rates - batch["targets"]))


RATES = Objective("mean squared distance of the rates to their targets", _squared, ("targets",))
"""What the small networks are trained for unless told otherwise; `targets` are rates in hertz."""


class Recurrent:
    """What a recurrent model does with its parameters: it is a core `Model` and a `Layer`.

    A subclass is a frozen pytree with the leaf `params` and a method `system(params, drive)`.
    """

    framework: ClassVar[Framework] = "jax"
    params: Any
    objective: Objective | None

    def system(self, params: Any, drive: Array, /) -> System:
        """The equations for this input."""
        raise NotImplementedError

    def __call__(self, drive: Array, /) -> Array:
        """Steady rates, in hertz, of the drive's shape."""
        return self.fixed_point(self.params, drive).r

    def fixed_point(
        self,
        params: Any,
        inputs: Array,
        *,
        solver: Solver = "auto",
        tol: float | None = None,
        max_steps: int | None = None,
        r0: Array | None = None,
        throw: bool = False,
        with_stability: bool = False,
    ) -> FixedPoint:
        """The steady state for drives `inputs`, as the function `fixed_point`."""
        return fixed_point(
            self,
            params,
            inputs,
            solver=solver,
            tol=tol,
            max_steps=max_steps,
            r0=r0,
            throw=throw,
            with_stability=with_stability,
        )

    def simulate(self, drive: Any, *, steps: int, dt: float = 1.0) -> Trajectory:
        """As the function `simulate`, with this model's parameters."""
        return simulate(self, self.params, drive, steps=steps, dt=dt)

    def activations(self, drive: Array, /) -> dict[str, Array]:
        """The steady rates, flat: `{"rates": (batch, cells)}`."""
        rates = self(drive)
        return {"rates": rates.reshape(len(rates), -1)}

    def state_tree(self) -> Any:
        """The parameters."""
        return self.params

    def with_state(self, state: Any, /) -> Self:
        """The model with these parameters."""
        params = refilled(type(self).__name__, self.params, state)
        return replace(self, params=params)  # type: ignore[type-var]  # subclasses are dataclasses


def refilled(name: str, params: Any, state: Any) -> Any:
    """The leaves of `state` in the structure of `params`; `ParameterError` where shapes differ."""
    leaves = [jnp.asarray(leaf) for leaf in jax.tree.leaves(state)]
    own, structure = jax.tree.flatten(params)
    given, needed = [x.shape for x in leaves], [x.shape for x in own]
    if given != needed:
        raise ParameterError(f"the state has shapes {given}, {name} needs {needed}")
    return jax.tree.unflatten(structure, leaves)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Network(Recurrent):
    """`tau dr/dt = phi(W r + h) - r` for any `W (cells, cells)`, rows as targets.

    The parameters are `W`; signs are free. `tau` is in ms, by cell; `drive` is all of h.
    """

    params: Array
    tau: Array
    law: PowerLaw = field(default=PowerLaw(), metadata={"static": True})
    objective: Objective | None = field(default=RATES, metadata={"static": True})

    @classmethod
    def create(
        cls,
        weights: ArrayLike,
        *,
        tau: ArrayLike = 10.0,
        n: float = 2.0,
        k: float = 0.04,
        objective: Objective | None = RATES,
    ) -> Network:
        """From weights, time constants (one, or one per cell), power and scale."""
        params = jnp.asarray(weights)
        if params.ndim != 2 or params.shape[0] != params.shape[1]:
            raise ParameterError(f"weights must be square, rows as targets, got {params.shape}")
        if not jnp.issubdtype(params.dtype, jnp.floating):
            params = params.astype(float)
        return cls(
            params, time_constants(tau, len(params), params.dtype), PowerLaw(k, n), objective
        )

    def system(self, params: Array, drive: Array, /) -> System:
        """The equations for `drive (..., cells)`."""
        return System(params, jnp.asarray(drive, params.dtype), self.tau, self.law)

    def synapses(self, drive: Array, /) -> dict[str, Synapse]:
        """The recurrent weights, with the steady rates at both ends."""
        rates = self(drive)
        return {"recurrent": Synapse(rates, rates, self.params)}

    def nudge(self, deltas: Mapping[str, Array], /) -> Network:
        """Add to the weights."""
        return replace(self, params=self.params + deltas["recurrent"])


def time_constants(tau: ArrayLike, cells: int, dtype: Any) -> Array:
    """`tau (cells,)` from one number or one per cell; `ParameterError` unless positive."""
    given = np.asarray(tau, dtype)
    if given.shape not in ((), (cells,)):
        raise ParameterError(f"tau must be one number or {cells}, got shape {given.shape}")
    if not ((given > 0) & (given < np.inf)).all():
        raise ParameterError(f"tau must be positive and finite, got {given} ms")
    return jnp.asarray(np.broadcast_to(given, (cells,)))
