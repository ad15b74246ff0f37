"""The implicit gradient against backpropagation through 4000 Euler steps, every parameter."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.bridge.jax import jit

import bioviz_ssn as ssn
from bioviz_ssn.losses import LossWeights, discrimination_loss
from bioviz_ssn.models.two_layer import TwoLayerFixedPoint, TwoLayerSSN
from bioviz_ssn.solvers.euler import euler_step
from bioviz_ssn.steady_state import FixedPoint

STEPS, PUBLISHED_STEPS = 4000, 300
GRID = ssn.GridSpec(points=3, size=1.6)
SLOW, WEAK = ((0.85, -0.02), (0.5, -0.02)), 0.07
"""Middle weights, and a factor on the drive, near the point where excitation has no steady state.

The slowest mode takes some 100 ms to decay by e, so that 300 steps fall short."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Unrolled(TwoLayerSSN):
    """The two-layer model followed from rest by Euler steps of 1 ms, to be differentiated so."""

    steps: Any = None

    def fixed_point_from_drive(self, params: Any, drive: Any, **options: Any) -> TwoLayerFixedPoint:
        """The rates after so many steps."""
        del options
        middle = _followed(self.middle, params.middle, drive, self.steps)
        output = self.middle.output(middle.r)
        superficial = _followed(self.superficial, params, output, self.steps)
        return TwoLayerFixedPoint(middle, superficial)


def certify() -> dict[str, float]:
    """Largest relative deviation over parameters; the other, on slow modes, must be large."""
    with jax.enable_x64(True):
        model, drive = _network()
        slow = replace(model.params, middle=ssn.LayerParams.create(SLOW))
        unrolled = partial(_unrolled, model)
        gradient = jit(_gradient)
        usual = gradient(model, model.params, drive)
        late = gradient(model, slow, WEAK * drive)
        return {
            "gradient_deviation": max(
                _deviation(usual, gradient(unrolled(STEPS), model.params, drive)),
                _deviation(late, gradient(unrolled(STEPS), slow, WEAK * drive)),
            ),
            "gradient_deviation_300_steps": _deviation(
                late, gradient(unrolled(PUBLISHED_STEPS), slow, WEAK * drive)
            ),
        }


def _network() -> tuple[TwoLayerSSN, jax.Array]:
    rng = np.random.default_rng(0)
    model = TwoLayerSSN.default(0, grid=GRID, readout_side=3)
    model = jax.tree.map(lambda leaf: np.asarray(leaf, float), replace(model, bank=None))
    moved = jax.tree.map(lambda leaf: leaf + 0.05 * rng.standard_normal(leaf.shape), model.params)
    model = jax.tree.map(jnp.asarray, replace(model, params=moved))
    drive = rng.uniform(0, 28, (2, 2, 4, 1, GRID.points**2)) * np.array([1.0, 0.57])[:, None]
    return model, jnp.asarray(drive)


def _unrolled(model: TwoLayerSSN, steps: int) -> Unrolled:
    own = {f.name: getattr(model, f.name) for f in fields(TwoLayerSSN)}
    return Unrolled(**own, steps=jnp.asarray(steps))


def _deviation(one: Any, other: Any) -> float:
    """The largest of any parameter, relative to its largest gradient."""
    pairs = zip(*map(jax.tree.leaves, jax.device_get((one, other))), strict=True)
    return max(float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs)


def _gradient(model: TwoLayerSSN, params: Any, drive: Any) -> Any:
    labels = jnp.array([1.0, 0.0])
    # Of this loss every parameter has a gradient: rates are held to targets that they do not have.
    weights = LossWeights(stability=0, r_mean=1.0)

    def loss(params: Any) -> Any:
        return discrimination_loss(model, params, drive, labels, weights=weights)[0]

    slope = jax.grad(loss)(params)
    # The superficial baseline is the middle layer's, so its own has no gradient.
    own = replace(slope.superficial, baseline=slope.middle.baseline)
    return replace(slope, superficial=own)


def _followed(layer: Any, params: Any, drive: Any, steps: Any) -> FixedPoint:
    """After `steps` of `STEPS` steps, which is no reason to compile anew."""
    system = layer.system(params, drive)

    def advance(r: Any, step: Any) -> tuple[Any, None]:
        to = euler_step(r, system.inputs(r), system.times(), system.law, 1.0)
        return jnp.where(step < steps, to, r), None

    r, _ = jax.lax.scan(advance, jnp.zeros_like(system.drive), jnp.arange(STEPS))
    none = jnp.zeros(jnp.max(r, -1 if system.axis is None else system.axis).shape)
    return FixedPoint(r, none, none == 0, none.astype(int), none > 0)
