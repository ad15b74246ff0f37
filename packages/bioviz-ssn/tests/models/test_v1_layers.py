from __future__ import annotations

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.connectivity import HorizontalKernel
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.models.v1_layers import MiddleLayer, SuperficialLayer
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.steady_state import fixed_point
from bioviz_ssn.stimuli import StimulusSpec, grating

Reference = dict[str, np.ndarray]


def params(ref: Reference) -> SSNParams:
    return SSNParams(
        LayerParams.create(ref["J_m"], ref["c"], ref["kappa_Jmid"]),
        LayerParams.create(ref["J_s"], ref["c"], ref["kappa_Jsup"]),
        jnp.log(jnp.asarray(ref["f"])),
        jnp.asarray(ref["kappa_f"]),
        jnp.asarray(ref["w_sig_fine"]),
        jnp.asarray(ref["b_sig"]),
    )


def test_middle_rates_are_the_published_ones(reference: Reference, x64: None) -> None:
    layer = MiddleLayer.create(reference["orientation_map"])
    drive = jnp.asarray(reference["drive_clean"]).reshape(-1, 4, 2, 81)
    fp = fixed_point(layer, params(reference).middle, drive, throw=True, with_stability=True)
    np.testing.assert_allclose(fp.r.reshape(-1, 648), reference["r_mid"], atol=1e-8)
    system = layer.system(params(reference).middle, drive)
    np.testing.assert_allclose(system.weights, reference["W_mid"], atol=1e-12)
    assert fp.stable is not None
    assert bool(fp.stable.all())
    assert float(fp.residual.max()) < 1e-10


def test_superficial_rates_are_the_published_ones(reference: Reference, x64: None) -> None:
    layer = SuperficialLayer.create(reference["orientation_map"])
    middle = jnp.asarray(reference["r_mid"]).reshape(-1, 4, 2, 81)
    output = MiddleLayer.create(reference["orientation_map"]).output(middle)
    system = layer.system(params(reference), output)
    np.testing.assert_allclose(system.weights, reference["W_sup"], atol=1e-12)
    fp = fixed_point(layer, params(reference), output, throw=True)
    np.testing.assert_allclose(fp.r, reference["r_sup"], atol=1e-8)
    assert float(fp.residual.max()) < 1e-10


def test_shapes_are_checked() -> None:
    own = LayerParams.create([[4.4, -1.66], [5.0, -1.24]])
    with pytest.raises(ParameterError, match="phases"):
        MiddleLayer.create(np.zeros(4)).system(own, jnp.zeros((3, 8)))
    with pytest.raises(ParameterError, match="orientations must be"):
        SuperficialLayer.create(np.zeros(4))
    with pytest.raises(ParameterError, match="p_local"):
        SuperficialLayer.create(np.zeros(81), p_local=(0.4, 1.7))


def test_permuting_the_points_permutes_the_rates(x64: None) -> None:
    rng = np.random.default_rng(0)
    grid = GridSpec(points=5, size=3.2)
    own = SSNParams(
        LayerParams.create([[4.4, -1.66], [5.0, -1.24]], kappa=rng.normal(0, 0.5, (2, 2))),
        LayerParams.create([[4.3, -1.5], [5.0, -1.2]], kappa=rng.normal(0, 0.5, (2, 2, 2))),
        jnp.zeros(2),
        jnp.asarray(rng.normal(0, 0.5, 2)),
        jnp.zeros(25),
        jnp.zeros(()),
    )
    preferred, order = rng.uniform(0, 180, 25), rng.permutation(25)
    layer = SuperficialLayer.create(preferred, grid)
    shuffled_kernel = HorizontalKernel.create(
        grid.distances[order][:, order], preferred[order], p_local=(0.4, 0.7)
    )
    shuffled = replace(layer, kernel=shuffled_kernel)
    output = jnp.asarray(rng.uniform(0, 60, (3, 25)))
    rates = fixed_point(layer, own, output).r.reshape(3, 2, 25)
    moved = fixed_point(shuffled, own, output[:, order]).r.reshape(3, 2, 25)
    np.testing.assert_allclose(moved, rates[..., order], atol=1e-9)

    middle, again = (MiddleLayer.create(o) for o in (preferred, preferred[order]))
    drive = jnp.asarray(rng.uniform(-20, 30, (3, 4, 2, 25)))
    pairs = fixed_point(middle, own.middle, drive).r
    moved = fixed_point(again, own.middle, drive[..., order]).r
    np.testing.assert_allclose(moved, pairs[..., order], atol=1e-9)


def test_turning_map_and_stimulus_by_half_a_turn_changes_nothing(x64: None) -> None:
    grid, spec = GridSpec(points=3, size=1.6), StimulusSpec(half_width=1.0, resolution=10.0)
    preferred = np.linspace(5, 165, 9)
    rates = []
    for turn in (0.0, 180.0):
        bank = GaborBank.create(preferred + turn, (0.35, 0.2), grid, spec)
        model = TwoLayerSSN.default(0, grid=grid)
        model = TwoLayerSSN.create(
            model.params, preferred + turn, bank=bank, grid=grid, readout_side=3
        )
        image = grating(np.array([40.0]) + turn, spec)
        rates.append(model.fixed_point(model.params, image).superficial.r)
    np.testing.assert_allclose(*rates, atol=1e-6)
