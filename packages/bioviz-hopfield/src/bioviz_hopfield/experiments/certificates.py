"""What is proved of retrieval, on many random cases."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass

import numpy as np
import torch
from bioviz_core.lab.run import Run
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from bioviz_hopfield import theory
from bioviz_hopfield.functional import energy, retrieve
from bioviz_hopfield.separations import SEPARATIONS, SeparationName

WITH_ENERGY: tuple[SeparationName, ...] = ("softmax", "entmax15", "sparsemax")
STATES = 500
"""States that share one random memory."""
ROUNDING = 1e-12
"""Of a norm: what float64 adds to an error that the theorem bounds by less."""
PUBLISHED = (
    ({"dim": 20, "beta": 1.0, "scale": 3.0, "failure": 0.001}, 3.1546),
    ({"dim": 75, "beta": 1.0, "scale": 1.0, "failure": 0.001}, 1.3719),
)


@dataclass(frozen=True, slots=True)
class Separated:
    """Errors of well separated patterns after one update, and the bounds on them.

    `violations` counts the patterns whose error after one update, or at the fixed point, is larger.
    """

    errors: np.ndarray
    bounds: np.ndarray
    violations: int


def energy_rise(cases: int, run: Run) -> float:
    """The largest `(E(f(q)) - E(q)) / (1 + |E(q)|)`; below rounding where the energy falls.

    Memories of 1 to 64 patterns in 1 to 64 dimensions, `beta` from .01 to 100; half of the states
    are random, in the ball of the patterns and outside, half have settled from there, where the
    energy has nowhere to fall.
    """
    rng, worst = run.rng("energy"), -math.inf
    memories = math.ceil(cases / STATES)
    for number in run.track(range(memories), "energy"):
        separation = WITH_ENERGY[number % len(WITH_ENERGY)]
        rows, dim = (int(size) for size in rng.integers(1, 65, size=2))
        beta = float(10 ** rng.uniform(-2, 2))
        keys = torch.from_numpy(rng.normal(size=(rows, dim)))
        half = (STATES // 2, dim)
        start = torch.from_numpy(rng.normal(size=half) * rng.uniform(0, 2, (STATES // 2, 1)))
        settled = retrieve(start, keys, beta=beta, separation=separation, steps=20)
        states = torch.cat([start, settled])
        moved = retrieve(states, keys, beta=beta, separation=separation)
        before, after = (energy(q, keys, beta=beta, separation=separation) for q in (states, moved))
        worst = max(worst, float(((after - before) / (1 + before.abs())).max()))
        if number % max(1, memories // 20) == 0:
            run.log(number + 1, phase="energy", largest_rise=worst)
    return worst


def separated(cases: int, run: Run) -> Separated:
    """Queries at the largest distance that the theorem allows, `1 / (2 beta R)`."""
    rng, seen, violations = run.rng("separated"), 0, 0
    errors, bounds = [], []
    for _ in run.track(itertools.count(), "separated patterns"):
        patterns = _sphere(rng, count=int(rng.integers(5, 41)), dim=64, radius=8.0)
        beta = float(rng.uniform(0.3, 0.8))
        well = theory.separation(patterns) >= theory.needed_separation(patterns, beta=beta)
        noise = _sphere(rng, count=len(patterns), dim=64, radius=1 / (2 * beta * 8.0))
        settled = retrieve(patterns + noise, patterns, beta=beta, tol=1e-13)
        gap = (settled - patterns).norm(dim=-1)
        once = (retrieve(patterns + noise, patterns, beta=beta) - patterns).norm(dim=-1)
        distance = torch.maximum(noise.norm(dim=-1), gap)
        bound = theory.one_step_bound(patterns, distance, beta=beta)
        wrong = (once > bound + 8 * ROUNDING) | (
            gap > theory.fixed_point_bound(patterns, beta=beta) + 8 * ROUNDING
        )
        violations += int(wrong[well].sum())
        seen += int(well.sum())
        errors.append(once[well].numpy())
        bounds.append(bound[well].numpy())
        if seen >= cases:
            break
    return Separated(np.concatenate(errors), np.concatenate(bounds), violations)


def sparse_retrieval(cases: int, run: Run) -> tuple[int, int]:
    """`(misses of sparsemax, exact hits of softmax)` of patterns that lead by `1 / beta`."""
    rng, seen, misses, hits = run.rng("sparse"), 0, 0, 0
    while seen < cases:
        patterns = torch.from_numpy(rng.normal(size=(30, 40)))
        lead = theory.separation(patterns)
        beta = SEPARATIONS["sparsemax"].margin / float(lead.median())
        leads = lead * beta >= 1 + ROUNDING
        sparse, soft = (
            (retrieve(patterns, patterns, beta=beta, separation=how) == patterns).all(-1)[leads]
            for how in ("sparsemax", "softmax")
        )
        seen += int(leads.sum())
        misses += int((~sparse).sum())
        hits += int(soft.sum())
    return misses, hits


def attention_deviation(cases: int, run: Run) -> float:
    """The largest difference to softmax written out, to fused attention, by chunks, and alone."""
    rng, worst = run.rng("attention"), 0.0
    for _ in run.track(range(cases), "attention"):
        queries, rows, dim = (int(size) for size in rng.integers(1, 40, size=3))
        query, keys, values = (
            torch.from_numpy(rng.normal(size=shape))
            for shape in ((queries, dim), (rows, dim), (rows, 3))
        )
        beta = float(rng.uniform(0.1, 2))
        found = retrieve(query, keys, values, beta=beta)
        chunk = int(rng.integers(1, rows + 1))
        others = [
            torch.softmax(beta * query @ keys.mT, -1) @ values,
            scaled_dot_product_attention(query, keys, values, scale=beta),
            retrieve(query, keys, values, beta=beta, chunk_size=chunk),
            torch.stack([retrieve(one, keys, values, beta=beta) for one in query]),
        ]
        worst = max(worst, *(float((found - other).abs().max()) for other in others))
    return worst


def constant_error() -> float:
    """How far the constants of the capacity theorem are from the published ones."""
    return max(abs(theory.capacity_constant(**how) - known) for how, known in PUBLISHED)  # type: ignore[arg-type]


def _sphere(rng: np.random.Generator, *, count: int, dim: int, radius: float) -> Tensor:
    """Random points on a sphere, `(count, dim)`."""
    points = rng.normal(size=(count, dim))
    return torch.from_numpy(radius * points / np.linalg.norm(points, axis=1, keepdims=True))
