"""Networks near instability: states, gradients and flags against long integration in float64."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.linearization import decay
from bioviz_ssn.models.two_layer import TwoLayerFixedPoint, TwoLayerSSN
from bioviz_ssn.models.v1_layers import SuperficialLayer
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.power_law import PowerLaw
from bioviz_ssn.simulation import simulate
from bioviz_ssn.steady_state import FixedPoint, System, fixed_point

LOW, HIGH = (np.array(x) for x in ([[4.0, 1.2], [4.6, 0.8]], [[4.8, 2.0], [5.4, 1.6]]))
SIGNS = np.array([[1.0, -1.0], [1.0, -1.0]])
SMALL = GridSpec(points=5, size=3.2)


class Pairs:
    """Independent pairs, their weights as parameters."""

    def system(self, params: jax.Array, drive: jax.Array) -> System:
        return System(params, drive, jnp.array([20.0, 10.0]), PowerLaw(), axis=-2)


@partial(jax.jit, static_argnames="steps")
def integrated(system: System, steps: int) -> jax.Array:
    """Rates from rest after Runge-Kutta steps of 0.5 ms: Euler's would not damp a slow spiral."""

    def flow(r: jax.Array) -> jax.Array:
        return (system.law.rate(system.inputs(r)) - r) / system.times()

    def advance(_: int, r: jax.Array) -> jax.Array:
        one = flow(r)
        two = flow(r + 0.25 * one)
        three = flow(r + 0.25 * two)
        return r + (one + 2 * two + 2 * three + flow(r + 0.5 * three)) / 12

    return jax.lax.fori_loop(0, steps, advance, jnp.zeros_like(system.drive))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_slow_pairs_within_the_initial_ranges_reach_their_states(seed: int, x64: None) -> None:
    rng = np.random.default_rng(seed)
    count = 4000
    weights = (rng.uniform(LOW, HIGH, (count, 2, 2)) * SIGNS).transpose(1, 2, 0)
    gains = rng.uniform(0.15, 0.45, (2, count))
    drive = jnp.asarray(gains * rng.uniform(0, 90, count) + rng.uniform(4.5, 5.5, (2, count)))
    fp = fixed_point(Pairs(), jnp.asarray(weights), drive)
    system = Pairs().system(jnp.asarray(weights), drive)
    rho = np.asarray(decay(system, fp.r))
    slow = np.asarray(fp.converged) & (rho < 0.03) & (rho > 1e-3)
    assert slow.sum() > 20
    chosen = replace(system, weights=system.weights[..., slow], drive=drive[:, slow])
    last = integrated(chosen, 60_000)
    np.testing.assert_allclose(fp.r[:, slow], last, atol=1e-8, rtol=1e-8)
    assert float(fp.residual[slow].max()) < 1e-10
    # Whatever did not converge says so, and is finite.
    left = np.abs(np.asarray(system.law.rate(system.inputs(fp.r)) - fp.r)).max(0)
    tolerated = 1e-12 * (1 + np.asarray(fp.r).max(0))
    assert (left[np.asarray(fp.converged)] <= 2 * tolerated[np.asarray(fp.converged)]).all()
    assert bool(jnp.isfinite(fp.r).all())


def drawn(rng: np.random.Generator, excitation: float) -> SSNParams:
    """A superficial layer within the initial ranges, but for its E-E weight."""
    j = rng.uniform(LOW, HIGH) * SIGNS
    j[0, 0] *= excitation
    kappa = rng.normal(0, 0.3, (2, 2, 2))
    return SSNParams(
        LayerParams.create([[4.4, -1.66], [5.0, -1.24]], rng.uniform(4.5, 5.5, 2)),
        LayerParams.create(j, kappa=kappa),
        jnp.log(jnp.asarray(rng.uniform(0.6, 1.2, 2))),
        jnp.zeros(2),
        jnp.zeros(9),
        jnp.zeros(()),
    )


@pytest.mark.slow
def test_slow_superficial_layers_reach_their_states(x64: None) -> None:
    rng = np.random.default_rng(0)
    layer = SuperficialLayer.create(rng.uniform(0, 180, 25), SMALL)
    params = [drawn(rng, e) for e in np.linspace(0.9, 1.2, 24)]
    inputs = jnp.asarray(rng.uniform(0, 60, (24, 3, 25)))
    rows: Any = jax.tree.map(lambda *x: jnp.stack(x), *params)

    def settle(own: SSNParams, x: jax.Array) -> tuple[FixedPoint, jax.Array]:
        return fixed_point(layer, own, x), integrated(layer.system(own, x), 40_000)

    fp, last = jax.jit(jax.vmap(settle))(rows, inputs)
    decays = jnp.stack(
        [decay(layer.system(p, x), r) for p, x, r in zip(params, inputs, fp.r, strict=True)]
    )
    converged = np.asarray(fp.converged)
    slow = converged & (np.asarray(decays) > 1.5e-3)
    assert (np.asarray(decays)[slow] < 0.02).sum() >= 3
    np.testing.assert_allclose(fp.r[slow], last[slow], atol=1e-8, rtol=1e-8)
    # What did not converge has no state that integration finds.
    systems = [layer.system(p, x) for p, x in zip(params, inputs, strict=True)]
    left = jnp.stack(
        [jnp.abs(s.law.rate(s.inputs(r)) - r).max(-1) for s, r in zip(systems, last, strict=True)]
    )
    assert not (np.asarray(left)[~converged] < 1e-9).any()
    assert bool(jnp.isfinite(fp.r).all())
    assert float(fp.residual[fp.converged].max()) < 1e-10


@pytest.mark.slow
def test_gradients_equal_backpropagation_through_four_thousand_steps(x64: None) -> None:
    model = TwoLayerSSN.default(0, grid=SMALL, readout_side=3)
    wide: Any = jax.tree.map(lambda x: jnp.asarray(x, jnp.float64), replace(model, bank=None))
    drive = jnp.asarray(np.random.default_rng(0).uniform(-15, 20, (1, 2, 4, 2, 25)))

    def score(params: SSNParams, fp: TwoLayerFixedPoint) -> jax.Array:
        return jnp.sum(wide.decide(params, fp)) + jnp.mean(fp.middle.r**2)

    def implicit(params: SSNParams) -> jax.Array:
        return score(params, wide.fixed_point_from_drive(params, drive))

    def unrolled(params: SSNParams) -> jax.Array:
        middle = simulate(wide.middle, params.middle, drive, steps=4000).r[-1]
        output = wide.middle.output(middle)
        superficial = simulate(wide.superficial, params, output, steps=4000).r[-1]
        sure = jnp.ones((), bool)
        layers = (FixedPoint(r, r, sure, sure, ~sure) for r in (middle, superficial))
        return score(params, TwoLayerFixedPoint(*layers))

    ours, theirs = (jax.jit(jax.value_and_grad(f))(wide.params) for f in (implicit, unrolled))
    for one, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6, atol=1e-8)
