"""Testing a cohort between steps: trials of its own, right answers, readouts fitted anew."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import jax.numpy as jnp
import numpy as np
from bioviz_core.analyses.readout import fit_readout
from bioviz_core.lab import seeding
from numpy.typing import ArrayLike
from sklearn.exceptions import ConvergenceWarning

from bioviz_ssn.models.cohort import Cohort, Observation, observe
from bioviz_ssn.models.two_layer import READOUT
from bioviz_ssn.psychophysics import thresholds
from bioviz_ssn.tasks import FineTask, GeneralTask, Task

OFFSETS = (1.0, 3.0, 7.0, 12.0, 20.0)
"""Degrees at which accuracy is measured for a psychometric function."""
CENTER = 5
"""Points per side of what the fine task reads."""
REGRESSION_STEPS = 100

Stream = tuple[str | int, ...]


def central(cohort: Cohort) -> np.ndarray:
    """1 for the readout weights of the central points, and 0 elsewhere."""
    grid, mix = cohort.network.grid, cohort.network.readout_mix
    inside = np.zeros(grid.points**2, np.float32)
    inside[grid.central(min(CENTER, grid.points))] = 1
    return np.tile(inside, sum(share > 0 for share in mix))


def restricted(cohort: Cohort) -> Cohort:
    """With a readout of the central points alone, as the fine task has it."""
    readout = cohort.params.readout * central(cohort)
    return cohort.with_state(replace(cohort.params, readout=readout))


def show(
    cohort: Cohort,
    seeds: Sequence[int],
    task: Task,
    count: int,
    *stream: str | int,
    offsets: ArrayLike | None = None,
) -> tuple[Observation, np.ndarray]:
    """What `count` new trials of a task evoke, and their labels `(count, seeds)`.

    A seed's trials depend on it and the stream's name alone. `offsets (count, seeds)`, or what
    broadcasts to it, stand in for that of a fine task.
    """
    uniforms, noise = [], []
    for seed in seeds:
        rng = seeding.rng(seed, *stream)
        uniforms.append(rng.random((count, task.uniforms), np.float32))
        noise.append(rng.standard_normal((count, 2, cohort.n_noise), np.float32))
    drawn: Any = np.stack(uniforms, 1)
    fine = offsets is not None and isinstance(task, FineTask)
    pairs = task.pairs(drawn, offset=np.asarray(offsets)) if fine else task.pairs(drawn)  # type: ignore[call-arg]  # a fine task
    orientations = pairs["orientations"].astype(np.float32)
    return observe(cohort, orientations, np.stack(noise, 1)), pairs["labels"]


def right_answers(
    cohort: Cohort,
    seeds: Sequence[int],
    *stream: str | int,
    offsets: ArrayLike = OFFSETS,
    trials: int = 100,
    reference: float = 55.0,
) -> np.ndarray:
    """How many of `trials` fine trials are answered rightly, `(seeds, offsets)`.

    `offsets (offsets,)` in degrees, or `(offsets, seeds)`.
    """
    levels = np.asarray(offsets, float)
    levels = levels if levels.ndim == 2 else levels[:, None]
    levels = np.broadcast_to(levels, (len(levels), len(seeds)))
    apart = np.repeat(levels, trials, 0)
    task = FineTask(reference=reference)
    seen, labels = show(cohort, seeds, task, len(apart), *stream, offsets=apart)
    right = (seen.z > 0) == (labels == 1)
    return np.asarray(right.reshape(len(levels), trials, len(seeds)).sum(1).T)


def measured_thresholds(counts: np.ndarray, trials: int) -> np.ndarray:
    """Thresholds in degrees, by seed, from right answers at `OFFSETS`; inf where there is none."""
    return thresholds(OFFSETS, counts, trials)[0]


def refitted(
    cohort: Cohort,
    seeds: Sequence[int],
    *stream: str | int,
    task: Task | None = None,
    trials: int = 1000,
    shuffled: bool = False,
    everywhere: bool = False,
    spread: float | None = None,
) -> tuple[Cohort, np.ndarray, int]:
    """With readouts by logistic regression on 70 % of new trials, L2 of strength 1.

    Fine trials have the offsets of a psychometric function in turn. `shuffled` labels mean nothing;
    `everywhere` reads the whole grid; `spread` rescales the weights to that standard deviation.
    Also gives the accuracy on the other trials, by seed, and how many regressions did not converge.
    """
    task = FineTask() if task is None else task
    levels = np.resize(OFFSETS, trials)[:, None]
    fine = isinstance(task, FineTask)
    seen, labels = show(cohort, seeds, task, trials, *stream, offsets=levels if fine else None)
    if shuffled:
        coins = [seeding.rng(s, *stream, "labels").integers(0, 2, trials) for s in seeds]
        labels = np.stack(coins, 1)
    inside = np.ones_like(central(cohort)) if everywhere else central(cohort)
    chosen = np.flatnonzero(inside)
    features = np.asarray(seen.features)
    differences = (features[..., 0, :] - features[..., 1, :])[..., chosen]
    readout, bias = (
        np.zeros((len(seeds), len(inside)), np.float32),
        np.zeros(len(seeds), np.float32),
    )
    accuracy, unconverged = np.zeros(len(seeds)), 0
    first = round(0.7 * trials)
    for place in range(len(seeds)):
        x, y = differences[:, place], labels[:, place]
        weights, own, converged = _regression(x[:first], y[:first])
        accuracy[place] = np.mean((x[first:] @ weights + own > 0) == (y[first:] == 1))
        scale = spread / weights.std() if spread else 1.0
        readout[place, chosen], bias[place] = scale * weights, scale * own
        unconverged += not converged
    params = replace(cohort.params, readout=jnp.asarray(readout), bias=jnp.asarray(bias))
    return cohort.with_state(params), accuracy, unconverged


def general_mean_rates(cohort: Cohort, seeds: Sequence[int], trials: int) -> np.ndarray:
    """Mean rates `(seeds, layers, types)` in general trials: what fine training keeps them near."""
    seen, _ = show(cohort, seeds, GeneralTask(), trials, "mean-rates")
    return np.asarray(seen.mean_rates.mean((0, 2)), np.float32)


def first_readout(
    cohort: Cohort, seeds: Sequence[int], *, trials: int, shuffled: bool
) -> tuple[Cohort, np.ndarray, int]:
    """The readout that pretraining starts with: the general task's, over the whole grid."""
    return refitted(
        cohort, seeds, "first-readout", task=GeneralTask(), trials=trials, shuffled=shuffled,
        everywhere=True, spread=READOUT,
    )  # fmt: skip


def _regression(x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, float, bool]:
    """Weights and bias on the features as they are, and whether the regression converged."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always", ConvergenceWarning)
        pipeline = fit_readout(x, y, c=1.0, max_steps=REGRESSION_STEPS)
    scaler, _, regression = (step for _, step in pipeline.steps)
    weights = regression.coef_[0] / scaler.scale_
    return weights, float(regression.intercept_[0] - weights @ scaler.mean_), not caught
