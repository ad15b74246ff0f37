"""What `nrf/gaussian-check` measures: laws, biases, walls, and the published sampler."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import torch
from bioviz_core.lab.run import Run
from torch import Tensor

from bioviz_nrf.sampling.bounds import Bounds
from bioviz_nrf.sampling.kernels import Langevin, Scheme, langevin
from bioviz_nrf.sampling.mass import Mass
from bioviz_nrf.sampling.replica import replica
from bioviz_nrf.sampling.stationary_law import obabo_second_moment, stationary_covariance
from bioviz_nrf.sampling.targets import Gaussian, Quartic

SCHEMES: tuple[Scheme, ...] = ("baoab", "obabo", "sghmc", "sgld")
STEP_SIZES = (0.1, 0.4, 0.8)
BIAS_STEPS = (0.05, 0.1, 0.2)
BOX = (-1.0, 0.5)


@dataclass(frozen=True, slots=True)
class Law:
    """One entry of the stationary covariance, as measured and as the closed form has it."""

    scheme: str
    law: str
    step_size: float
    measured: float
    expected: float


@dataclass(frozen=True, slots=True)
class Bias:
    """Relative error of `E[x^2]` on the quartic law: `obabo` by step size, and baoab's."""

    obabo: Mapping[float, float]
    order: float
    baoab: float
    baoab_step: float


@dataclass(frozen=True, slots=True)
class Settled:
    """Where chains in a box ended, and how far their moments are off, in standard errors."""

    positions: np.ndarray
    errors: np.ndarray

    @property
    def worst(self) -> float:
        """The largest error."""
        return float(np.abs(self.errors).max())

    @property
    def count_on_walls(self) -> int:
        """Chains with a coordinate exactly on a wall."""
        return int(np.isin(self.positions, BOX).any(1).sum())

    @property
    def on_walls(self) -> float:
        """The share of these chains."""
        return self.count_on_walls / len(self.positions)


@dataclass(frozen=True, slots=True)
class Boxed:
    """Chains mirrored at the walls, and chains clamped to them."""

    mirrored: Settled
    clamped: Settled


@dataclass(frozen=True, slots=True)
class Coldness:
    """Last positions by sampler, and their variance over that of the law."""

    positions: Mapping[str, np.ndarray]
    ratios: Mapping[str, float]
    covariance: np.ndarray


class Clamped(Bounds):
    """The wrong walls: a position is set on the wall, and the momentum goes on into it."""

    def fold(self, position: Tensor) -> tuple[Tensor, Tensor]:
        """The position clamped; nothing turns."""
        return position.clamp(self.low, self.high), torch.zeros_like(position, dtype=torch.bool)


def harmonic_variance(scheme: Scheme, step_size: float) -> float:
    """Closed form of `Var(x)` for `E = x^2 / 2` at unit friction and temperature."""
    h = step_size
    if scheme == "baoab":
        return 1.0
    below = {"obabo": h**2 / 4, "sghmc": h**2 / (4 - 2 * h), "sgld": h / 2}[scheme]
    return 1 / (1 - below)


def stationary_laws() -> Iterator[Law]:
    """Each kernel in a harmonic well; baoab on a correlated law, at every temperature, mass."""
    well = _gaussian([[1.0]])
    for scheme in SCHEMES:
        for h in STEP_SIZES:
            found = stationary_covariance(langevin(well, step_size=h, scheme=scheme), dim=1)[0, 0]
            yield Law(scheme, "well", h, float(found), harmonic_variance(scheme, h))
    target = _gaussian([[1.0, 0.8], [0.8, 1.0]])
    mass = Mass.diagonal([torch.tensor([0.7, 3.0], dtype=torch.float64)])
    for temperature in (0.25, 1.0, 4.0):
        for friction in (0.1, 1.0, 5.0):
            kernel = langevin(
                target, step_size=0.4, friction=friction, temperature=temperature, mass=mass
            )
            found = stationary_covariance(kernel, dim=2)
            expected = temperature * target.covariance.numpy()
            law = f"correlated, T = {temperature:g}, friction {friction:g}"
            for i, j in ((0, 0), (0, 1), (1, 1)):
                yield Law("baoab", law, 0.4, float(found[i, j]), float(expected[i, j]))


def quartic_bias(chains: int, run: Run) -> Bias:
    """The order of obabo's bias, without sampling error, and baoab's at `h omega = 1/2`.

    `omega^2` is the mean curvature of the energy, `1 + 3 E[x^2]`.
    """
    target = Quartic()
    truth = target.moment(2)
    obabo = {
        h: obabo_second_moment(langevin(target, step_size=h, scheme="obabo")) / truth - 1
        for h in BIAS_STEPS
    }
    order = np.polyfit(np.log(BIAS_STEPS), np.log([*obabo.values()]), 1)[0]
    h = 0.5 / math.sqrt(1 + 3 * truth)
    generator = torch.Generator().manual_seed(run.seed_for("quartic"))
    kernel = langevin(target, step_size=h)
    state = kernel.init(torch.zeros(chains, 1, dtype=torch.float64), generator=generator)
    moments = []
    for step in run.track(range(1, 121), "quartic"):
        state, _ = kernel.step(state)
        moments.append(float(state.position.square().mean()))
        run.log(step, phase="quartic", second_moment=moments[-1])
    return Bias(obabo, float(order), float(np.mean(moments[30:])) / truth - 1, h)


def truncated_gaussian(chains: int, step_size: float, run: Run) -> Boxed:
    """A correlated Gaussian on a square that cuts much of it off, by mirrors and by clamping."""
    target = _gaussian([[1.0, 0.7], [0.7, 1.0]])
    mean, covariance = _box_moments(target)

    def settle(bounds: Bounds) -> Settled:
        generator = torch.Generator().manual_seed(run.seed_for("box"))
        start = bounds.uniform(torch.empty(chains, 2, dtype=torch.float64), generator)
        kernel = langevin(target, step_size=step_size, bounds=bounds)
        ends = _advance(run, kernel, start, generator, steps=round(8 / step_size))
        return Settled(ends, _errors(ends, mean, covariance))

    return Boxed(settle(Bounds(*BOX)), settle(Clamped(*BOX)))


def coldness(chains: int, burn_in: int, run: Run) -> Coldness:
    """The published sampler on a correlated Gaussian, with its masses and with unit ones."""
    target = _gaussian([[1.0, 0.8], [0.8, 1.0]])
    found = {}
    for name, adapts in (("published", True), ("published, unit mass", False)):
        generator = torch.Generator().manual_seed(run.seed_for(name))
        start = torch.zeros(chains, 2, dtype=torch.float64)
        kept = replica(target, start, steps=1, burn_in=burn_in, generator=generator, adapts=adapts)
        found[name] = kept[-1].numpy()
    generator = torch.Generator().manual_seed(run.seed_for("baoab"))
    start = torch.zeros(chains, 2, dtype=torch.float64)
    kernel = langevin(target, step_size=0.4)
    found["baoab"] = _advance(run, kernel, start, generator, steps=60)
    truth = target.covariance.numpy()
    ratios = {name: float(np.trace(np.cov(x.T)) / np.trace(truth)) for name, x in found.items()}
    return Coldness(found, ratios, truth)


def _advance(
    run: Run, kernel: Langevin, start: Tensor, generator: torch.Generator, *, steps: int
) -> np.ndarray:
    state = kernel.init(start, generator=generator)
    for _ in run.track(range(steps), "chains"):
        state, _ = kernel.step(state)
    ends: Tensor = state.position
    return ends.numpy()


def _gaussian(covariance: list[list[float]]) -> Gaussian:
    matrix = torch.tensor(covariance, dtype=torch.float64)
    return Gaussian(torch.linalg.inv(matrix), torch.zeros(len(matrix), dtype=torch.float64))


def _box_moments(target: Gaussian) -> tuple[np.ndarray, np.ndarray]:
    """Mean and covariance of the law cut to the box, by Gauss-Legendre quadrature."""
    nodes, weights = np.polynomial.legendre.leggauss(60)
    nodes = (BOX[0] + BOX[1] + (BOX[1] - BOX[0]) * nodes) / 2
    places = np.stack(np.meshgrid(nodes, nodes), -1).reshape(-1, 2)
    law = np.outer(weights, weights).ravel() * np.exp(-target(torch.from_numpy(places))[0].numpy())
    mean = law @ places / law.sum()
    away = places - mean
    return mean, away.T @ (law[:, None] * away) / law.sum()


def _errors(ends: np.ndarray, mean: np.ndarray, covariance: np.ndarray) -> np.ndarray:
    """Errors of both means, both variances and the covariance, in standard errors."""
    away = ends - mean
    products = np.stack([away[:, 0] ** 2, away[:, 1] ** 2, away[:, 0] * away[:, 1]], axis=1)
    found = np.concatenate([away, products - covariance[[0, 1, 0], [0, 1, 1]]], axis=1)
    return np.asarray(found.mean(0) / (found.std(0) / math.sqrt(len(ends))))
