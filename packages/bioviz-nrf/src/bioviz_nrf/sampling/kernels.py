"""Langevin kernels on any energy: one step maps a state to a state, and one gradient is taken.

The dynamics of unit temperature scale `T`, friction rate `gamma` and diagonal mass `M` is

    dx = p / M dt,   dp = -dE/dx dt - gamma p dt + sqrt(2 gamma T M) dW

with the stationary law `exp(-(E + p.p / 2M) / T)`. `baoab` keeps the positions' law of a Gaussian
exactly at any stable step; the others are biased as `nrf.md` tabulates and the tests check.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from bioviz_nrf.errors import DivergenceError, ShapeError
from bioviz_nrf.sampling.bounds import Bounds
from bioviz_nrf.sampling.mass import Mass
from bioviz_nrf.sampling.positions import Position, leaves, names, rebuild

Scheme = Literal["baoab", "obabo", "sghmc", "sgld"]
OnDivergence = Literal["raise", "ignore"]
Parts = list[Tensor]


@dataclass(frozen=True, slots=True)
class Clamp:
    """Tensors of the position, by name or place, that are never moved and have no momentum."""

    layers: Collection[str | int] = ()


@dataclass(frozen=True, slots=True)
class State:
    """Where the chains are. `rng` is the generator that was given; stepping advances it."""

    position: Position
    momentum: Position
    grad: Position
    energy: Tensor
    step: int
    rng: torch.Generator


@dataclass(frozen=True, slots=True)
class Info:
    """What a step did: means over chains, and which chains are no longer finite.

    `kinetic_temperature` is the mean of `p.p / M` per free coordinate, T when all is well (0 for
    `sgld`, which has no momentum); `folded` the share of coordinates that met a wall.
    """

    energy: Tensor
    kinetic_temperature: Tensor
    folded: Tensor
    grad_norm: Tensor
    diverged: Tensor


@dataclass(frozen=True, slots=True)
class SamplerConfig:
    """How many steps of which kernel."""

    steps: int = 500
    step_size: float = 0.1
    friction: float = 1.0
    temperature: float = 1.0
    scheme: Scheme = "baoab"

    def __post_init__(self) -> None:
        if self.steps < 0:
            raise ValueError(f"steps must be at least 0, got {self.steps}")

    def kernel(
        self,
        energy_and_grad: Callable[[Any], tuple[Tensor, Any]],
        *,
        bounds: Bounds | None = None,
        clamp: Clamp | None = None,
    ) -> Langevin:
        """The kernel on an energy."""
        return langevin(
            energy_and_grad,
            step_size=self.step_size,
            friction=self.friction,
            temperature=self.temperature,
            scheme=self.scheme,
            bounds=bounds,
            clamp=clamp,
        )


def langevin(
    energy_and_grad: Callable[[Any], tuple[Tensor, Any]],
    *,
    step_size: float = 0.1,
    friction: float = 1.0,
    temperature: float = 1.0,
    scheme: Scheme = "baoab",
    mass: Mass | None = None,
    bounds: Bounds | None = None,
    clamp: Clamp | None = None,
    on_divergence: OnDivergence = "raise",
) -> Langevin:
    """A kernel; `energy_and_grad(position)` gives the energy of each chain and the gradient.

    With h the step size, c = exp(-gamma h), and xi standard normal:

    - `baoab`: half kick, half drift, `p <- c p + sqrt((1 - c^2) T M) xi`, half drift, half kick
    - `obabo`: half refresh, half kick, drift, half kick, half refresh
    - `sghmc`: `p <- (1 - gamma h) p - h dE + sqrt(2 gamma h T M) xi`, then drift
    - `sgld`: `x <- x - h dE / M + sqrt(2 h T / M) xi`, no momentum

    Zero temperature gives a damped flow, zero friction the Hamiltonian one, which does not mix by
    itself. With `bounds` positions are mirrored at the walls and so is the momentum.
    """
    return Langevin(
        energy_and_grad,
        step_size,
        friction,
        temperature,
        scheme,
        Mass.scalar() if mass is None else mass,
        bounds,
        Clamp() if clamp is None else clamp,
        on_divergence,
    )


@dataclass(frozen=True, slots=True)
class Langevin:
    """A kernel with its settings; made by `langevin`."""

    energy_and_grad: Callable[[Any], tuple[Tensor, Any]]
    step_size: float
    friction: float
    temperature: float
    scheme: Scheme
    mass: Mass
    bounds: Bounds | None
    clamp: Clamp
    on_divergence: OnDivergence

    def __post_init__(self) -> None:
        if not 0 < self.step_size < math.inf:
            raise ValueError(f"step_size must be positive and finite, got {self.step_size}")
        if not 0 <= self.friction < math.inf:
            raise ValueError(f"friction must be at least 0 and finite, got {self.friction}")
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature must be at least 0 and finite, got {self.temperature}")
        if self.scheme not in _SCHEMES:
            raise ValueError(f"scheme must be one of {', '.join(_SCHEMES)}, got {self.scheme!r}")
        if self.scheme == "sghmc" and self.friction * self.step_size >= 2:
            raise ValueError(
                f"friction * step_size must be below 2 for sghmc, got "
                f"{self.friction * self.step_size}: lower step_size"
            )

    def init(
        self,
        position: Position,
        *,
        generator: torch.Generator,
        momentum: Position | None = None,
    ) -> State:
        """The first state; the momentum is drawn from its law unless it is given."""
        parts = [part.detach() for part in leaves(position)]
        free = self._free(position)
        self._check(position, parts)
        if momentum is None:
            moved = []
            for index, (part, mass) in enumerate(zip(parts, self.mass.on(parts), strict=True)):
                draw = torch.zeros_like(part)
                if index in free and self.scheme != "sgld":
                    draw = (self.temperature * mass).sqrt() * normal(part, generator)
                moved.append(draw)
            momentum = rebuild(position, moved)
        elif [p.shape for p in leaves(momentum)] != [p.shape for p in parts]:
            raise ShapeError("momentum must have the shapes of the position")
        energy, grad = self.energy_and_grad(rebuild(position, parts))
        return State(rebuild(position, parts), momentum, grad, energy, 0, generator)

    @torch.no_grad()
    def step(self, state: State) -> tuple[State, Info]:
        """One step. What the given state holds is left as it is, but for its generator."""
        flight = _Flight(self, state)
        _SCHEMES[self.scheme](flight)
        after = State(
            rebuild(state.position, flight.x),
            rebuild(state.position, flight.p),
            rebuild(state.position, flight.grad),
            flight.energy,
            state.step + 1,
            state.rng,
        )
        info = flight.info()
        if self.on_divergence == "raise" and bool(info.diverged.any()):
            chains = info.diverged.nonzero().flatten().tolist()
            raise DivergenceError(after.step, chains, float(state.energy.mean()))
        return after, info

    def _free(self, position: Position) -> list[int]:
        keys = names(position)
        if unknown := [layer for layer in self.clamp.layers if layer not in keys]:
            raise ValueError(f"cannot clamp {unknown}: the position has {keys}")
        return [index for index, key in enumerate(keys) if key not in self.clamp.layers]

    def _check(self, position: Position, parts: Parts) -> None:
        sizes = {len(part) if part.dim() else 0 for part in parts}
        if len(sizes) != 1 or 0 in sizes:
            shapes = {key: tuple(p.shape) for key, p in zip(names(position), parts, strict=True)}
            raise ShapeError(f"every tensor needs the same number of chains first, got {shapes}")
        if self.bounds is not None and not all(map(self.bounds.contains, parts)):
            raise ValueError(
                f"the chains start outside [{self.bounds.low}, {self.bounds.high}]: scale the "
                "data into the domain first"
            )


def normal(like: Tensor, generator: torch.Generator) -> Tensor:
    """Standard normal numbers of a tensor's shape; the one place where noise comes from."""
    return torch.randn(like.shape, generator=generator, dtype=like.dtype, device=like.device)


class _Flight:
    """The tensors of one step, moved by the parts of a scheme."""

    def __init__(self, kernel: Langevin, state: State) -> None:
        self.kernel, self.state = kernel, state
        self.h, self.gamma = kernel.step_size, kernel.friction
        self.x, self.p, self.grad = map(leaves, (state.position, state.momentum, state.grad))
        self.energy = state.energy
        self.free = kernel._free(state.position)
        self.mass = kernel.mass.on(self.x)
        self.met: list[Tensor] = []

    def _each(self, change: Callable[[int], Tensor], kept: Parts) -> Parts:
        return [change(i) if i in self.free else part for i, part in enumerate(kept)]

    def kick(self, time: float) -> None:
        """`p <- p - time dE/dx`."""
        self.p = self._each(lambda i: self.p[i] - time * self.grad[i], self.p)

    def drift(self, time: float) -> None:
        """`x <- x + time p / M`, mirrored at the walls."""
        self.x = self._each(lambda i: self.x[i] + time * self.p[i] / self.mass[i], self.x)
        self.reflect()

    def reflect(self) -> None:
        """Fold the positions back and turn the momentum of those that met a wall."""
        if self.kernel.bounds is None:
            return
        for i in self.free:
            self.x[i], turned = self.kernel.bounds.fold(self.x[i])
            self.p[i] = torch.where(turned, -self.p[i], self.p[i])
            self.met.append(turned)

    def refresh(self, time: float) -> None:
        """`p <- c p + sqrt((1 - c^2) T M) xi` with `c = exp(-gamma time)`: exact."""
        kept = math.exp(-self.gamma * time)
        spread = (1 - kept**2) * self.kernel.temperature
        self.p = self._each(
            lambda i: kept * self.p[i] + (spread * self.mass[i]).sqrt() * self.noise(i), self.p
        )

    def noise(self, index: int) -> Tensor:
        """Noise for one tensor."""
        return normal(self.x[index], self.state.rng)

    def push(self) -> None:
        """Damping, force and noise at once, in the semi-implicit order of SGHMC."""
        spread = 2 * self.gamma * self.h * self.kernel.temperature
        self.p = self._each(
            lambda i: (
                (1 - self.gamma * self.h) * self.p[i]
                - self.h * self.grad[i]
                + (spread * self.mass[i]).sqrt() * self.noise(i)
            ),
            self.p,
        )

    def diffuse(self) -> None:
        """Overdamped: down the gradient with noise."""
        spread = 2 * self.h * self.kernel.temperature
        self.x = self._each(
            lambda i: (
                self.x[i]
                - self.h * self.grad[i] / self.mass[i]
                + (spread / self.mass[i]).sqrt() * self.noise(i)
            ),
            self.x,
        )
        self.reflect()

    def measure(self) -> None:
        """Energy and gradient where the chains are now."""
        self.energy, grad = self.kernel.energy_and_grad(rebuild(self.state.position, self.x))
        self.grad = leaves(grad)

    def info(self) -> Info:
        """What happened."""
        zero = self.energy.new_zeros(())
        slopes = [self.grad[i].flatten(1).square().sum(1) for i in self.free]
        squares = sum(slopes, torch.zeros_like(self.energy))
        units = sum(self.x[i].numel() for i in self.free)
        motion = [(self.p[i].square() / self.mass[i]).sum() for i in self.free]
        met = [turned.sum() for turned in self.met]
        return Info(
            energy=self.energy.mean(),
            kinetic_temperature=sum(motion, zero) / max(units, 1),
            folded=sum(met, zero) / max(sum(t.numel() for t in self.met), 1),
            grad_norm=squares.sqrt().mean(),
            diverged=~(self.energy.isfinite() & squares.isfinite()),
        )


def _baoab(flight: _Flight) -> None:
    half = flight.h / 2
    flight.kick(half)
    flight.drift(half)
    flight.refresh(flight.h)
    flight.drift(half)
    flight.measure()
    flight.kick(half)


def _obabo(flight: _Flight) -> None:
    half = flight.h / 2
    flight.refresh(half)
    flight.kick(half)
    flight.drift(flight.h)
    flight.measure()
    flight.kick(half)
    flight.refresh(half)


def _sghmc(flight: _Flight) -> None:
    flight.push()
    flight.drift(flight.h)
    flight.measure()


def _sgld(flight: _Flight) -> None:
    flight.diffuse()
    flight.measure()


_SCHEMES: Mapping[str, Callable[[_Flight], None]] = {
    "baoab": _baoab,
    "obabo": _obabo,
    "sghmc": _sghmc,
    "sgld": _sgld,
}
