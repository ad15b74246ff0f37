"""What discrimination training minimizes: a sum of named terms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.linearization import SLOWEST, slowest_rates, slowness
from bioviz_ssn.models.two_layer import TwoLayerFixedPoint, TwoLayerSSN, cross_entropy
from bioviz_ssn.parameters import SSNParams
from bioviz_ssn.simulation import simulate

MEAN_RATES = ((25.0, 50.0), (25.0, 50.0))
"""Hertz, rows as layers, E before I: what mean rates are drawn to in pretraining."""
MAX_RATES = (40.0, 80.0)
"""Hertz, E and I: above this a population's largest rate is penalized."""
DX_STEPS, DX_THRESHOLD = 300, 1e-4


@dataclass(frozen=True, slots=True)
class LossWeights:
    """How much each term counts; the defaults are those of fine training.

    `dx` weighs the published convergence term, which `stability` replaces. Static under jit.
    """

    task: float = 1.0
    r_max: float = 1.0
    r_mean: float = 0.25
    w: float = 1.0
    b: float = 1.0
    stability: float = 1.0
    dx: float = 0.0
    slowest: float = SLOWEST


class Evaluation(NamedTuple):
    """What a batch of trials looked like: the weighted `terms` add up to the loss.

    `mean_rates` and `max_rates` are `(2, 2)`, layer by type, in hertz; `decay (2,)` is that of each
    layer's slowest mode, per ms.
    """

    terms: dict[str, Array]
    accuracy: Array
    mean_rates: Array
    max_rates: Array
    decay: Array
    n_unconverged: Array


def discrimination_loss(
    model: TwoLayerSSN,
    params: SSNParams,
    drive: Array,
    labels: Array,
    noise: Array | None = None,
    *,
    weights: LossWeights = LossWeights(),
    mean_rates: ArrayLike = MEAN_RATES,
    max_steps: int | None = None,
) -> tuple[Array, Evaluation]:
    """The loss of a batch of trials, and its parts.

    `drive` is `(trials, 2, phases, 2, points)`, the reference before the target; `labels` is 1
    where the reference is the larger orientation; `noise (trials, 2, features)` is that of the
    readout. Terms with weight 0 are not computed; the slowest modes are always shown. With
    `model.legacy` rate penalties see what the published code sees: the reference only, and not the
    last superficial I cell.
    """
    fp = model.fixed_point_from_drive(params, drive, max_steps=max_steps)
    z = model.decide(params, fp, noise)
    mean, peak = _population_rates(model, fp)
    parts = {
        "task": cross_entropy(z, labels),
        "r_max": rate_maximum(peak),
        "r_mean": rate_mean(mean, jnp.asarray(mean_rates, mean.dtype)),
        "w": jnp.sum(jnp.square(params.readout)),
        "b": jnp.square(params.bias),
    }
    middle, superficial = slow_modes(model, params, drive, fp)
    if weights.stability:
        slow = [slowness(rho, slowest=weights.slowest) for rho in (middle, superficial)]
        parts["stability"] = slow[0] + slow[1]
    if weights.dx:
        parts["dx"] = legacy_dx(model, params, drive)
    terms = {name: getattr(weights, name) * part for name, part in parts.items()}
    right = jnp.mean((z > 0) == (labels > 0.5), dtype=z.dtype)
    decay = jnp.stack([jnp.min(middle, initial=jnp.inf), superficial])
    seen = Evaluation(terms, right, mean.mean((0, 1)), peak.max((0, 1)), decay, fp.n_unconverged)
    return jnp.sum(jnp.stack(list(terms.values()))), seen


def rate_maximum(peak: Array, limit: ArrayLike = MAX_RATES) -> Array:
    """`relu(peak / limit - 1)`, summed over layers and types, mean over stimuli.

    `peak (..., layers, types)` holds each population's largest rate, in hertz.
    """
    excess = jax.nn.relu(peak / jnp.asarray(limit, peak.dtype) - 1)
    return jnp.mean(jnp.sum(excess, (-2, -1)))


def rate_mean(mean: Array, target: Array) -> Array:
    """`(mean / target - 1)^2`, summed over layers and types, mean over stimuli."""
    return jnp.mean(jnp.sum(jnp.square(mean / target - 1), (-2, -1)))


def slow_modes(
    model: TwoLayerSSN, params: SSNParams, drive: Array, fp: TwoLayerFixedPoint
) -> tuple[Array, Array]:
    """`slowest_rates` of the middle layer, its slowest pair by stimulus, and the superficial one.

    One pair that runs away is enough to lose a stimulus; a mean over pairs would hardly see it.
    """
    output = model.middle.output(fp.middle.r)
    pairs = slowest_rates(model.middle, params.middle, drive, fp.middle)
    superficial = slowest_rates(model.superficial, params, output, fp.superficial)
    return jnp.min(pairs, (-2, -1)), superficial


def legacy_dx(model: TwoLayerSSN, params: SSNParams, drive: Array) -> Array:
    """The published convergence term, mean of `relu(y / 1e-4 - 1)^2` over stimuli and layers.

    y is the mean over the second half of 300 Euler steps of 1 ms of `max |dr| / max(1, |r|)`, dr
    being the change in a step. Zero for a damped network; it explodes near marginal stability.
    Memory grows with the steps.
    """
    middle = simulate(model.middle, params.middle, drive, steps=DX_STEPS).r
    output = model.middle.output(middle[-1])
    superficial = simulate(model.superficial, params, output, steps=DX_STEPS).r
    flat = middle.reshape(*middle.shape[:-3], -1)
    return jnp.mean(jnp.stack([_restlessness(flat), _restlessness(superficial)]))


def _restlessness(r: Array) -> Array:
    """The mean squared excess of the changes in `r (steps + 1, ..., cells)`."""
    change = jnp.abs(jnp.diff(r, axis=0)) / jnp.maximum(1, jnp.abs(r[1:]))
    late = jnp.max(change, -1)[len(change) // 2 :]
    return jnp.mean(jnp.square(jax.nn.relu(jnp.mean(late, 0) / DX_THRESHOLD - 1)))


def _population_rates(model: TwoLayerSSN, fp: TwoLayerFixedPoint) -> tuple[Array, Array]:
    """Mean and largest rate of each population: `(trials, stimuli, layers, types)` both."""
    middle, superficial = fp.middle.r, fp.superficial.r
    if model.legacy:
        middle, superficial = middle[:, :1], superficial[:, :1]
    points = superficial.shape[-1] // 2
    inhibitory = superficial[..., points : -1 if model.legacy else None]
    layers = (middle[..., 0, :], middle[..., 1, :], superficial[..., :points], inhibitory)
    populations = [r.reshape(*r.shape[:2], -1) for r in layers]
    shape = (*middle.shape[:2], 2, 2)
    mean = jnp.stack([jnp.mean(r, -1) for r in populations], -1).reshape(shape)
    peak = jnp.stack([jnp.max(r, -1) for r in populations], -1).reshape(shape)
    return mean, peak
