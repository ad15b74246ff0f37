"""Predictive coding as a learning rule, for any torch model that is a chain of stages."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any

import torch
from bioviz_core.bridge.torch import Layered
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Batch, Framework, HasObjective, Refusal, Step
from torch import Tensor, nn
from torch.optim import Optimizer

from bioviz_predictive_coding.relaxation import energy, relax


class PredictiveCoding:
    """Activity relaxes between input and target; then each weight learns from the error behind it.

    Value nodes stand behind every stage with parameters, as in `x_l = W_l f(x_{l-1})`. At rest the
    update is `-dE/dW_l / nudge = e_l f(x_{l-1})^T / nudge`, local and Hebbian (Whittington and
    Bogacz 2017). It is that of backpropagation in the limit of a small `nudge`: the
    distance shrinks in proportion to it.

    `optimizer` is called with the trainable parameters. `rate` and `steps` are those of the
    relaxation; the metric `residual` says how far from rest it ended, relative to the error.
    """

    framework: Framework | None = "torch"
    needs: tuple[type, ...] = (Layered, HasObjective)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def __init__(
        self,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer],
        *,
        nudge: float = 0.1,
        rate: float = 0.2,
        steps: int = 50,
    ) -> None:
        if nudge <= 0 or rate <= 0 or steps < 1:
            raise ValueError(
                f"nudge, rate and steps must be positive, got {nudge}, {rate} and {steps}"
            )
        self.optimizer, self.nudge, self.rate, self.steps = optimizer, nudge, rate, steps

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Optimizer:
        """The optimizer; `IncompatibleError` for stochastic stages and for nothing to train."""
        del seed
        trainable = [p for p in model.parameters() if p.requires_grad]
        if not trainable:
            why = f"{type(model).__name__} has no trainable parameters"
            raise IncompatibleError([Refusal("model", "parameters", why)])
        if wavering := _stochastic(model, batch["inputs"]):
            why = (
                f"the stages {', '.join(wavering)} give another answer each time, so the energy "
                "would change under the relaxation: set dropout to 0"
            )
            raise IncompatibleError([Refusal("model", "stages", why)])
        return self.optimizer(trainable)

    def step(
        self, model: Any, batch: Batch, state: Optimizer, /, *, seed: int
    ) -> Step[Any, Optimizer]:
        """Relax, then one step down the energy by the weights."""
        del seed
        model.train()
        inputs, layers = batch["inputs"], _layers(model)

        def loss(outputs: Tensor) -> Tensor:
            total: Tensor = model.objective.loss(outputs, batch) * len(inputs)
            return total

        with torch.no_grad():
            before = model.objective.loss(model(inputs), batch)
        rest = relax(layers, inputs, loss, nudge=self.nudge, rate=self.rate, steps=self.steps)
        state.zero_grad(set_to_none=True)
        total = energy(layers, inputs, rest.values, loss, self.nudge)
        torch.autograd.backward(total / (self.nudge * len(inputs)))
        state.step()
        return Step(
            model, state, {"loss": before, "energy": rest.energy / len(inputs),
                           "residual": rest.residual},
        )  # fmt: skip


def _layers(model: Any) -> list[nn.Sequential]:
    """Stages joined so that each layer ends with its parameters; what follows the last joins it."""
    layers: list[list[nn.Module]] = [[]]
    for _, stage in model.stages():
        layers[-1].append(stage)
        if any(True for _ in stage.parameters()):
            layers.append([])
    tail = layers.pop()
    layers = [*layers[:-1], [*layers[-1], *tail]] if layers else [tail]
    return [nn.Sequential(*stages) for stages in layers]


def _stochastic(model: Any, inputs: Tensor) -> list[str]:
    """Stages that answer differently when asked twice in training mode; asked of a copy."""
    trial, activity, found = copy.deepcopy(model).train(), inputs, []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for name, stage in trial.stages():
            # Ones, not the stimuli: only their shape is known to mean anything at this point.
            asked = torch.ones_like(activity)
            one, activity = stage(asked), stage(asked)
            if not torch.equal(one, activity):
                found.append(name)
    return found
