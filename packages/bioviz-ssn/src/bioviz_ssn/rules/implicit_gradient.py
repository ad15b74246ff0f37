"""Gradient descent on steady states, which keeps the network away from instability."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import jax
import optax
from bioviz_core.interfaces import Batch, Framework, HasObjective, Step
from jax import Array

from bioviz_ssn.linearization import SLOWEST, stability_penalty
from bioviz_ssn.steady_state import FixedPoint, System


@runtime_checkable
class Settling(HasObjective, Protocol):
    """A recurrent model that has a steady state and says how it got there."""

    def system(self, params: Any, drive: Array, /) -> System:
        """The equations for this input."""

    def fixed_point(self, params: Any, inputs: Array) -> FixedPoint:
        """The steady state for this input."""


class ImplicitGradient:
    """Trains a network's parameters on its objective, by the implicit gradient of its rates.

    To the objective comes `stability` times the penalty on slow modes. Inputs whose state was not
    found give no gradient; the metric `n_unconverged` counts them. `optimizer` is optax's, Adam
    with `learning_rate` unless given.
    """

    framework: Framework | None = "jax"
    needs: tuple[type, ...] = (Settling,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def __init__(
        self,
        learning_rate: float = 1e-2,
        *,
        stability: float = 1.0,
        slowest: float = SLOWEST,
        optimizer: optax.GradientTransformation | None = None,
    ) -> None:
        self.optimizer = optax.adam(learning_rate) if optimizer is None else optimizer
        self.stability, self.slowest = stability, slowest

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Any:
        """The optimizer's state."""
        del batch, seed
        return self.optimizer.init(model.params)

    def step(self, model: Any, batch: Batch, state: Any, /, *, seed: int) -> Step[Any, Any]:
        """One step down the gradient."""
        del seed

        def loss(params: Any) -> tuple[Array, dict[str, Array]]:
            drive = batch["inputs"]
            fp = model.fixed_point(params, drive)
            objective = model.objective.loss(fp.r, batch)
            penalty = stability_penalty(model, params, drive, fp, slowest=self.slowest)
            total = objective + self.stability * penalty
            terms = {"loss": total, "objective": objective, "stability": penalty}
            return total, {**terms, "n_unconverged": fp.n_unconverged}

        slope, metrics = jax.grad(loss, has_aux=True)(model.params)
        change, state = self.optimizer.update(slope, state, model.params)
        return Step(model.with_state(optax.apply_updates(model.params, change)), state, metrics)
