"""The certificate that accepted networks are solved: residuals, slow modes included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

import bioviz_ssn as ssn
from bioviz_ssn.rejection import PAPER_BOUNDS, PAPER_RANGES
from bioviz_ssn.steady_state import fixed_point

SLOW = 0.01
"""Per ms: a mode that decays slower takes over 100 ms."""
SETTLING = 2000
"""Milliseconds that a pair may take to settle from rest, to be accepted."""

_LOW, _HIGH = np.array([getattr(PAPER_RANGES, f"j_{ab}") for ab in ("ee", "ei", "ie", "ii")]).T
_SIGNS = np.array([1, -1, 1, -1])
_TAU = np.array([20.0, 10.0])
_LAW = ssn.PowerLaw()
_STIMULI = 8


@dataclass(frozen=True)
class Draws:
    """Parameters before training: J `(draws, 2, 2)` by layer; baselines, f and g `(draws, 2)`."""

    middle: np.ndarray
    superficial: np.ndarray
    baseline: np.ndarray
    f: np.ndarray
    gains: np.ndarray

    def params(self, k: int) -> ssn.SSNParams:
        """One draw as parameters of the two-layer model."""
        return ssn.SSNParams(
            ssn.LayerParams.create(self.middle[k], self.baseline[k]),
            ssn.LayerParams.create(self.superficial[k], self.baseline[k], np.zeros((2, 2, 2))),
            jnp.log(jnp.asarray(self.f[k])),
            jnp.zeros(2),
            jnp.zeros(25),
            jnp.zeros(()),
        )


@dataclass(frozen=True, slots=True)
class Solved:
    """How well a set of systems was solved in one precision.

    `residual` is the largest, in Hz, `over_bound` that over `1e-5 (1 + max r)`; `slowest` is the
    smallest decay, per ms, and `slow` counts the systems with a slow mode.
    """

    systems: str
    precision: str
    count: int
    unconverged: int
    residual: float
    over_bound: float
    slowest: float
    slow: int


@dataclass(frozen=True, slots=True)
class Found:
    """Steady states of several systems: residual, `1e-5 (1 + max r)`, decay, convergence."""

    residual: np.ndarray
    bound: np.ndarray
    converged: np.ndarray
    decay: np.ndarray


class Pairs:
    """E-I pairs, each with weights of its own, `(2, 2, pairs)`."""

    def system(self, params: Array, drive: Array, /) -> ssn.System:
        """The equations for `drive (2, pairs)`, all of h."""
        return ssn.System(params, drive, jnp.asarray(_TAU, params.dtype), _LAW, axis=-2)


def certify(rng: np.random.Generator, pairs: int, networks: int) -> Iterator[Solved]:
    """Solve a pair of each of so many draws, those pairs near instability, and whole networks.

    Drives are what the filters of one orientation map make of gratings. `networks` is how many
    draws are solved in the superficial layer too, each for eight orientations.
    """
    preferred = ssn.orientation_map(rng)
    responses = filter_responses(preferred)
    draws, drive = accepted(rng, pairs, responses)
    weights = np.moveaxis(draws.middle, 0, -1)
    with jax.enable_x64(True):
        slowed = slow_weights(weights, drive)
        layers = list(superficial_networks(draws, preferred, responses, networks))
    for precision in ("float64", "float32"):
        with jax.enable_x64(precision == "float64"):
            yield _summary("middle pairs", precision, solve_pairs(weights, drive))
            yield _summary("middle pairs, slowed", precision, solve_pairs(slowed, drive))
            yield _summary("superficial networks", precision, solve_networks(layers))


def accepted(
    rng: np.random.Generator, count: int, responses: np.ndarray
) -> tuple[Draws, np.ndarray]:
    """Draws that pass what a middle pair can be asked, and a drive `(2, draws)` for each.

    1.1 |J_EE J_II| < |J_EI J_IE|, so that strong drive leaves a steady state;
    1.1 |J_EI| g_I < |J_II| g_E, so that it excites the E cell; and, driven by one of `responses`,
    the pair settles from rest, no rate above the largest accepted one.
    """
    kept, drives = np.empty((0, 14)), np.empty((2, 0))
    while len(kept) < count:
        u = rng.random((count, 14))
        draws = _draws(u)
        (ee, ei), (ie, ii) = np.abs(np.moveaxis(draws.middle, 0, -1))
        g_e, g_i = draws.gains.T
        drive = _drive(draws, np.arange(count), rng.choice(responses.ravel(), count))
        good = np.flatnonzero((1.1 * ee * ii < ei * ie) & (1.1 * ei * g_i < ii * g_e))
        good = good[settles(np.moveaxis(draws.middle[good], 0, -1), drive[:, good])]
        kept = np.concatenate([kept, u[good]])
        drives = np.concatenate([drives, drive[:, good]], axis=1)
    return _draws(kept[:count]), drives[:, :count]


def settles(weights: np.ndarray, drive: np.ndarray) -> np.ndarray:
    """Whether pairs come to rest within bounds, by two seconds of Euler steps of 1 ms."""
    r = np.zeros_like(drive)
    largest = PAPER_BOUNDS.largest[1]
    for _ in range(SETTLING):
        u = np.maximum(weights[:, 0] * r[0] + weights[:, 1] * r[1] + drive, 0)
        change = _LAW.k * u**2 - r
        # What has left the bounds by far does not come back, and must not overflow.
        r = np.minimum(r + change / _TAU[:, None], 10 * largest)
    calm: np.ndarray = (np.abs(change) < 1e-3 * (1 + r)).all(0) & (r < largest).all(0)
    return calm


def _draws(u: np.ndarray) -> Draws:
    """Parameters from numbers in [0, 1), `(draws, 14)`."""
    j = [(_SIGNS * (_LOW + (_HIGH - _LOW) * u[:, i : i + 4])).reshape(-1, 2, 2) for i in (0, 4)]
    scaled = [
        low + (high - low) * part
        for (low, high), part in zip(
            (PAPER_RANGES.c, PAPER_RANGES.f, PAPER_RANGES.g), np.split(u[:, 8:], 3, 1), strict=True
        )
    ]
    return Draws(*j, *scaled)


def filter_responses(preferred: np.ndarray) -> np.ndarray:
    """What the filters give for eight orientations, `(8, phases, points)`, before the gains."""
    bank = ssn.GaborBank.create(preferred, (1.0, 1.0))
    images = ssn.grating(np.arange(_STIMULI) * 180 / _STIMULI)
    return np.asarray(bank.drive(images), float)[:, :, 0]


def solve_pairs(weights: np.ndarray, drive: np.ndarray) -> Found:
    """Pairs `(2, 2, pairs)`; residual and decay are computed here from the rates, in float64."""
    given = jnp.asarray(weights), jnp.asarray(drive)
    fp = fixed_point(Pairs(), *given)
    w, h, r = (np.asarray(x, float) for x in (*given, fp.r))
    u = np.einsum("abp,bp->ap", w, r) + h
    residual = np.abs(_LAW.k * np.maximum(u, 0) ** 2 - r).max(0)
    s = 2 * _LAW.k * np.maximum(u, 0)
    a, d = (s[0] * w[0, 0] - 1) / _TAU[0], (s[1] * w[1, 1] - 1) / _TAU[1]
    product = s[0] * s[1] * w[0, 1] * w[1, 0] / _TAU.prod()
    growth = (a + d) / 2 + np.sqrt(np.maximum(((a - d) / 2) ** 2 + product, 0))
    return Found(residual, 1e-5 * (1 + r.max(0)), np.asarray(fp.converged), -growth)


def slow_weights(weights: np.ndarray, drive: np.ndarray, steps: int = 7) -> np.ndarray:
    """The weights with J_EE raised until the pair is about to lose its stability or its bound.

    By bisection up to one and a half times J_EE; rates stay below the largest accepted one.
    """
    low, high = np.ones(weights.shape[-1]), np.full(weights.shape[-1], 1.5)
    raised = weights.copy()
    for _ in range(steps):
        middle = (low + high) / 2
        raised[0, 0] = middle * weights[0, 0]
        found = solve_pairs(raised, drive)
        in_range = found.bound < 1e-5 * (1 + PAPER_BOUNDS.largest[1])
        sound = found.converged & (found.decay > 1e-4) & in_range
        low, high = np.where(sound, middle, low), np.where(sound, high, middle)
    raised[0, 0] = low * weights[0, 0]
    return raised


@dataclass(frozen=True, slots=True)
class SuperficialNetwork:
    """One superficial layer with its drives `(8, cells)`, and rates near its steady ones."""

    weights: np.ndarray
    drive: np.ndarray
    near: np.ndarray


def superficial_networks(
    draws: Draws, preferred: np.ndarray, responses: np.ndarray, count: int
) -> Iterator[SuperficialNetwork]:
    """The first draws whose superficial layer settles, by Euler steps from rest, within bounds."""
    layer = ssn.SuperficialLayer.create(preferred)
    make = jax.jit(layer.system)
    for place, output in _middle_outputs(draws, responses):
        if count == 0:
            return
        system = make(draws.params(place), output)
        model = ssn.Network(system.weights, system.tau)
        try:
            near = ssn.steady_rates(model, model.params, system.drive)
        except ssn.FixedPointError:
            continue
        types = np.split(near, 2, axis=-1)
        means, peaks = ([float(f(r)) for r in types] for f in (np.mean, np.max))
        if _within(means, PAPER_BOUNDS.mean) and _within(peaks, PAPER_BOUNDS.largest):
            count -= 1
            yield SuperficialNetwork(*map(np.asarray, (system.weights, system.drive, near)))
    if count:
        raise ssn.ParameterError(
            f"of {len(draws.middle)} draws too few have a superficial layer that settles, "
            f"{count} are missing: ask for more pairs or fewer networks"
        )


def solve_networks(networks: list[SuperficialNetwork]) -> Found:
    """The steady states of all drives; decay is that of the network's strongest response."""
    found = []
    for network in networks:
        given = jnp.asarray(network.weights), jnp.asarray(network.drive)
        tau = np.repeat(_TAU, len(network.weights) // 2)
        model = ssn.Network(given[0], jnp.asarray(tau))
        fp = fixed_point(model, *given, r0=jnp.asarray(network.near))
        w, h, r = (np.asarray(x, float) for x in (*given, fp.r))
        u = r @ w.T + h
        residual = np.abs(_LAW.k * np.maximum(u, 0) ** 2 - r).max(-1)
        gain = 2 * _LAW.k * np.maximum(u[r.sum(-1).argmax()], 0)
        modes = np.linalg.eigvals((gain[:, None] * w - np.eye(len(w))) / tau[:, None])
        decay = np.full(len(r), -modes.real.max())
        found.append((residual, 1e-5 * (1 + r.max(-1)), np.asarray(fp.converged), decay))
    return Found(*(np.concatenate(part) for part in zip(*found, strict=True)))


def _middle_outputs(draws: Draws, responses: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Sums over phases of the middle E rates, `(8, points)`, draw by draw."""
    for place in range(len(draws.middle)):
        chosen = np.full(responses.size, place)
        weights = jnp.asarray(np.moveaxis(draws.middle[chosen], 0, -1))
        fp = fixed_point(Pairs(), weights, jnp.asarray(_drive(draws, chosen, responses.ravel())))
        yield place, np.asarray(fp.r)[0].reshape(responses.shape).sum(1)


def _drive(draws: Draws, chosen: np.ndarray, responses: np.ndarray) -> np.ndarray:
    """`max(g x, 0) + c` of the chosen draws: `(2, pairs)`."""
    drive: np.ndarray = np.maximum(draws.gains[chosen].T * responses, 0) + draws.baseline[chosen].T
    return drive


def _within(values: list[float], bounds: tuple[float, float]) -> bool:
    return all(bounds[0] < value < bounds[1] for value in values)


def _summary(systems: str, precision: str, found: Found) -> Solved:
    return Solved(
        systems, precision, found.residual.size, int((~found.converged).sum()),
        float(found.residual.max()), float((found.residual / found.bound).max()),
        float(found.decay.min()), int((found.decay < SLOW).sum()),
    )  # fmt: skip
