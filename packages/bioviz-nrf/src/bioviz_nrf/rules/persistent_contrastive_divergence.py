"""Persistent contrastive divergence: lower the energy of data, raise that of the model's dreams."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Batch, Energetic, Framework, Refusal, Step
from torch import Tensor, nn
from torch.optim import Adam, Optimizer

from bioviz_nrf.gradients.autograd import from_energy
from bioviz_nrf.replay_buffer import ReplayBuffer
from bioviz_nrf.sampling.bounds import Bounds
from bioviz_nrf.sampling.kernels import Clamp, Info, SamplerConfig
from bioviz_nrf.sampling.sample import advance

Phase = SamplerConfig | Mapping[str, Any]


class PersistentContrastiveDivergence:
    """Follows `E_{p(h | x)}[dE] - E_{p(x, h)}[dE]`, the gradient of minus the log likelihood.

    Positive phase: the data held (the states named by `data`, the model's first by default), the
    others sampled from where `model.states` puts them; left out where nothing else is free.
    Negative phase: everything free, chains from a replay buffer with probability `keep`, else from
    noise. The loss is `mean E+ - mean E- + penalty (mean (E+ / D)^2 + mean (E- / D)^2)` with `D`
    units. A model with a `domain` is sampled inside it.

    Gradients are clipped per element to `3 sqrt(v) + 0.1`, `v` being Adam's estimate of their
    second moment, from the second step on; another optimizer's are not.
    """

    framework: Framework | None = "torch"
    needs: tuple[type, ...] = (Energetic,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = False

    def __init__(
        self,
        *,
        positive: Phase = SamplerConfig(),  # noqa: B008  # frozen
        negative: Phase = SamplerConfig(),  # noqa: B008  # frozen
        buffer_size: int = 10_000,
        keep: float = 0.95,
        penalty: float = 1.0,
        lr: float = 5e-4,
        optimizer: Callable[[Iterable[nn.Parameter]], Optimizer] | None = None,
        data: Sequence[str] | None = None,
    ) -> None:
        self.positive, self.negative = _phase(positive), _phase(negative)
        if not 0 <= keep <= 1:
            raise ValueError(f"keep must be a probability, got {keep}")
        if penalty < 0:
            raise ValueError(f"penalty must be at least 0, got {penalty}")
        self.buffer_size, self.keep, self.penalty, self.data = buffer_size, keep, penalty, data
        self.optimizer = optimizer or partial(Adam, lr=lr, betas=(0.0, 0.999))

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> dict[str, Any]:
        """An optimizer, and a buffer without chains."""
        del seed
        trainable = [p for p in model.parameters() if p.requires_grad]
        if not trainable:
            why = f"{type(model).__name__} has no trainable parameters: all are frozen or absent"
            raise IncompatibleError([Refusal("model", "parameters", why)])
        states = model.states(batch["inputs"])
        return {
            "optimizer": self.optimizer(trainable),
            "buffer": ReplayBuffer(states, capacity=self.buffer_size),
        }

    def step(
        self, model: Any, batch: Batch, state: dict[str, Any], /, *, seed: int
    ) -> Step[Any, dict[str, Any]]:
        """Sample both phases, then one step of the optimizer."""
        with torch.no_grad():
            start = model.states(batch["inputs"])
        generator = torch.Generator(next(iter(start.values())).device).manual_seed(seed)
        awake, told = self._positive(model, start, generator)
        dreamt, more, fresh = self._negative(model, start, state["buffer"], generator)
        optimizer: Optimizer = state["optimizer"]
        optimizer.zero_grad(set_to_none=True)
        units = sum(part[0].numel() for part in start.values())
        low, high = model.energy(awake), model.energy(dreamt)
        gap = low.mean() - high.mean()
        penalty = ((low / units).square().mean() + (high / units).square().mean()) * self.penalty
        (gap + penalty).backward()
        norm = _clip(optimizer)
        optimizer.step()
        metrics = {
            "energy_gap": gap.detach(),
            "energy_positive": low.mean().detach(),
            "energy_negative": high.mean().detach(),
            "penalty": penalty.detach(),
            "gradient_norm": norm,
            **_told("positive", told),
            **_told("negative", more),
            "fresh_share": fresh,
            "buffer_age": state["buffer"].mean_age,
        }
        return Step(model, state, metrics)

    def _positive(
        self, model: Any, start: Mapping[str, Tensor], generator: torch.Generator
    ) -> tuple[Mapping[str, Tensor], Info | None]:
        held = tuple(self.data or list(start)[:1])
        if set(held) == set(start):
            return start, None
        kernel = self.positive.kernel(
            from_energy(model.energy), bounds=_domain(model), clamp=Clamp(held)
        )
        chains = kernel.init(start, generator=generator)
        chains, info = advance(kernel, chains, steps=self.positive.steps)
        return chains.position, info

    def _negative(
        self,
        model: Any,
        start: Mapping[str, Tensor],
        buffer: ReplayBuffer,
        generator: torch.Generator,
    ) -> tuple[Mapping[str, Tensor], Info | None, float]:
        bounds = _domain(model)
        walls = bounds or Bounds()
        noise = {name: walls.uniform(part, generator) for name, part in start.items()}
        began, slots, fresh = buffer.sample(noise, keep=self.keep, generator=generator)
        kernel = self.negative.kernel(from_energy(model.energy), bounds=bounds)
        chains = kernel.init(began, generator=generator)
        chains, info = advance(kernel, chains, steps=self.negative.steps)
        buffer.commit(chains.position, slots)
        return chains.position, info, fresh


def _phase(given: Phase) -> SamplerConfig:
    return given if isinstance(given, SamplerConfig) else SamplerConfig(**given)


def _domain(model: Any) -> Bounds | None:
    domain = getattr(model, "domain", None)
    return domain if isinstance(domain, Bounds) else None


def _told(phase: str, info: Info | None) -> dict[str, Tensor]:
    if info is None:
        return {}
    return {
        f"kinetic_temperature_{phase}": info.kinetic_temperature,
        f"folded_{phase}": info.folded,
    }


def _clip(optimizer: Optimizer) -> Tensor:
    """The norm of the gradient, which is then clipped where Adam's second moment is known."""
    parameters = [p for g in optimizer.param_groups for p in g["params"] if p.grad is not None]
    norm = (
        torch.stack([p.grad.square().sum() for p in parameters if p.grad is not None]).sum().sqrt()
    )
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            kept = optimizer.state.get(parameter, {})
            if parameter.grad is not None and "exp_avg_sq" in kept:
                debiased = kept["exp_avg_sq"] / (1 - group["betas"][1] ** float(kept["step"]))
                bound = 3 * debiased.sqrt() + 0.1
                parameter.grad.clamp_(-bound, bound)
    return norm
