from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.models.v1_layers import MiddleLayer, SuperficialLayer
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.steady_state import fixed_point

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
