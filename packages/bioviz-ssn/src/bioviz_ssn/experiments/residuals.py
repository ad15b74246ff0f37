"""The certificate that accepted networks are solved: residuals, slow modes included."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.interfaces import Claim, Part
from jax import Array

import bioviz_ssn as ssn
from bioviz_ssn.fixed_point import fixed_point

CLAIM = Claim(
    id="ssn-residual",
    sentence="Every accepted network is solved to the precision of its numbers",
    source="theory",
    metric="residual",
    rule="<=",
    bound=1e-10,
    unit="Hz",
    tags=("certificate",),
    also=(
        Part("float32_residual_over_bound", "<=", 1.0),
        Part("unconverged", "exact", 0),
        Part("slow_systems", ">=", 1),
    ),
)
"""`float32_residual_over_bound` is the largest residual over `1e-5 (1 + max r)`."""

DRAWS = 10_000
ROWS = 8
SLOW = 0.01
"""Per ms: a mode that decays less than this, within 100 ms, counts as slow."""

LOW, HIGH = np.array([4.0, 1.2, 4.6, 0.8]), np.array([4.8, 2.0, 5.4, 1.6])
"""Ranges of |J_EE|, |J_EI|, |J_IE| and |J_II| before training, in both layers."""
SIGNS = np.array([1, -1, 1, -1])
TAU = np.array([20.0, 10.0])
LAW = ssn.PowerLaw()


@dataclass(frozen=True)
class Draws:
    """Parameters before training: J `(draws, 2, 2)` by layer; baselines, f and g `(draws, 2)`."""

    middle: np.ndarray
    superficial: np.ndarray
    baseline: np.ndarray
    f: np.ndarray
    gains: np.ndarray


@dataclass(frozen=True, slots=True)
class Solved:
    """How well a set of systems was solved in one precision.

    `residual` is the largest, in Hz, `over_bound` that over `1e-5 (1 + max r)`; `slowest` the
    smallest decay, per ms, and `slow` counts systems with a slow mode.
    """

    systems: str
    precision: str
    count: int
    unconverged: int
    residual: float
    over_bound: float
    slowest: float
    slow: int


def accepted(rng: np.random.Generator, count: int) -> Draws:
    """Draws that obey both inequalities of the middle layer.

    1.1 |J_EE J_II| < |J_EI J_IE|: strong drive leaves it a steady state; and
    1.1 |J_EI| g_I < |J_II| g_E: it excites the E cells.
    """
    kept = np.empty((0, 14))
    while len(kept) < count:
        u = rng.random((count, 14))
        ee, ei, ie, ii = (LOW + (HIGH - LOW) * u[:, :4]).T
        g_e, g_i = (0.15 + 0.3 * u[:, 12:]).T
        good = (1.1 * ee * ii < ei * ie) & (1.1 * ei * g_i < ii * g_e)
        kept = np.concatenate([kept, u[good]])
    u = kept[:count]
    middle, superficial = (
        (SIGNS * (LOW + (HIGH - LOW) * part)).reshape(-1, 2, 2) for part in (u[:, :4], u[:, 4:8])
    )
    return Draws(
        middle, superficial, 4.5 + u[:, 8:10], 0.6 + 0.6 * u[:, 10:12], 0.15 + 0.3 * u[:, 12:]
    )


class Pairs:
    """E-I pairs, each with weights of its own, `(2, 2, pairs)`."""

    def system(self, params: Array, drive: Array, /) -> ssn.System:
        """The equations for `drive (..., 2, pairs)`, all of h."""
        return ssn.System(params, drive, jnp.asarray(TAU, params.dtype), LAW, axis=-2)


def certify(rng: np.random.Generator, networks: int) -> Iterator[Solved]:
    """Solve the pairs of 10,000 draws, pairs brought near instability, and whole networks.

    The inputs are what the filters of one map make of gratings. `networks` draws are solved in
    the superficial layer too, for eight orientations each.
    """
    draws = accepted(rng, DRAWS)
    preferred = ssn.orientation_map(rng)
    responses = filter_responses(preferred)
    weights = np.moveaxis(draws.middle, 0, -1)
    seen = rng.choice(responses.ravel(), (ROWS, 1, DRAWS))
    drive = np.maximum(seen * draws.gains.T, 0) + draws.baseline.T
    slowed = slow_pairs(weights, drive)
    outputs = list(middle_outputs(draws, responses, networks))
    for precision in ("float64", "float32"):
        with jax.enable_x64(precision == "float64"):
            yield _judge("middle pairs", precision, [solve_pairs(weights, drive)])
            yield _judge("middle pairs, slowed", precision, [solve_pairs(slowed, drive)])
            solved = solve_networks(draws, preferred, outputs)
            yield _judge("superficial networks", precision, list(solved))


Found = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def solve_pairs(weights: np.ndarray, drive: np.ndarray) -> Found:
    """Residuals, their bounds, convergence and decay of pairs, recomputed from the rates."""
    w, h = jnp.asarray(weights), jnp.asarray(drive)
    fp = fixed_point(Pairs(), w, h)
    w, h, r = (np.asarray(x, float) for x in (w, h, fp.r))
    u = np.einsum("abp,rbp->rap", w, r) + h
    residual = np.abs(LAW.k * np.maximum(u, 0) ** 2 - r).max(1)
    s = 2 * LAW.k * np.maximum(u, 0)
    a, d = (s[:, 0] * w[0, 0] - 1) / TAU[0], (s[:, 1] * w[1, 1] - 1) / TAU[1]
    bc = s[:, 0] * s[:, 1] * w[0, 1] * w[1, 0] / TAU.prod()
    decay = -((a + d) / 2 + np.sqrt(np.maximum(((a - d) / 2) ** 2 + bc, 0)))
    return residual, 1e-5 * (1 + r.max(1)), np.asarray(fp.converged), decay


def slow_pairs(weights: np.ndarray, drive: np.ndarray, steps: int = 12) -> np.ndarray:
    """The weights with J_EE raised until the slowest of a draw's pairs is about to lose stability.

    By bisection between the draw and one and a half times its J_EE.
    """
    low, high = np.ones(weights.shape[-1]), np.full(weights.shape[-1], 1.5)

    def scaled(factor: np.ndarray) -> np.ndarray:
        made = weights.copy()
        made[0, 0] *= factor
        return made

    with jax.enable_x64(True):
        for _ in range(steps):
            middle = (low + high) / 2
            _, _, converged, decay = solve_pairs(scaled(middle), drive)
            sound = (converged & (decay > 1e-4)).all(0)
            low, high = np.where(sound, middle, low), np.where(sound, high, middle)
    return scaled(low)


def filter_responses(preferred: np.ndarray) -> np.ndarray:
    """What the filters give for eight orientations, `(8, phases, points)`, before the gains."""
    bank = ssn.GaborBank.create(preferred, (1.0, 1.0))
    images = ssn.grating(np.arange(ROWS) * 180 / ROWS)
    return np.asarray(bank.drive(images))[:, :, 0]


def middle_outputs(draws: Draws, responses: np.ndarray, networks: int) -> Iterator[np.ndarray]:
    """Sums over phases of middle E rates, `(8, points)` for each of the first draws, in float64."""
    cells = responses.shape[1] * responses.shape[2]
    at_once = DRAWS // cells
    for first in range(0, networks, at_once):
        chosen = (np.arange(first, first + at_once) % DRAWS).repeat(cells)
        chosen = np.concatenate([chosen, np.zeros(DRAWS - len(chosen), int)])
        seen = np.resize(responses.reshape(ROWS, 1, cells), (ROWS, 1, cells))
        seen = np.tile(seen, (1, 1, at_once + 1))[..., :DRAWS]
        drive = np.maximum(seen * draws.gains[chosen].T, 0) + draws.baseline[chosen].T
        with jax.enable_x64(True):
            weights = np.moveaxis(draws.middle[chosen], 0, -1)
            rates = np.asarray(fixed_point(Pairs(), jnp.asarray(weights), drive, throw=True).r)
        e = rates[:, 0, : at_once * cells].reshape(ROWS, at_once, *responses.shape[1:])
        yield from e.sum(2).swapaxes(0, 1)[: networks - first]


def solve_networks(
    draws: Draws, preferred: np.ndarray, outputs: list[np.ndarray]
) -> Iterator[Found]:
    """As `solve_pairs`, of the superficial layers of the first draws."""
    layer = ssn.SuperficialLayer.create(preferred)
    for k, output in enumerate(outputs):
        params = _params(draws, k)
        system = layer.system(params, jnp.asarray(output))
        fp = fixed_point(layer, params, output)
        w, h, r = (np.asarray(x, float) for x in (system.weights, system.drive, fp.r))
        u = r @ w.T + h
        residual = np.abs(LAW.k * np.maximum(u, 0) ** 2 - r).max(-1)
        yield residual, 1e-5 * (1 + r.max(-1)), np.asarray(fp.converged), np.full(len(r), np.nan)


def _params(draws: Draws, k: int) -> ssn.SSNParams:
    return ssn.SSNParams(
        ssn.LayerParams.create(draws.middle[k], draws.baseline[k]),
        ssn.LayerParams.create(draws.superficial[k], draws.baseline[k], np.zeros((2, 2, 2))),
        jnp.log(jnp.asarray(draws.f[k])),
        jnp.zeros(2),
        jnp.zeros(25),
        jnp.zeros(()),
    )


def _judge(systems: str, precision: str, found: list[Found]) -> Solved:
    residual, bound, converged, decay = (
        np.concatenate([x.ravel() for x in part]) for part in zip(*found, strict=True)
    )
    return Solved(
        systems, precision, converged.size, int((~converged).sum()), float(residual.max()),
        float((residual / bound).max()), float(np.nanmin(decay)), int((decay < SLOW).sum()),
    )  # fmt: skip
