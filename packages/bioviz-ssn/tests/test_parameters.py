from __future__ import annotations

import jax
import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.parameters import LayerParams, log_weights, signed_weights

J = [[4.4, -1.66], [5.0, -1.24]]


def test_signed_weights_undo_log_weights(x64: None) -> None:
    np.testing.assert_allclose(signed_weights(log_weights(J)), J, rtol=1e-15)


@pytest.mark.parametrize(
    "wrong", [[[-1, -1], [1, -1]], [[1, 1], [1, -1]], [[1, -1], [1, 0]], [[1, -1], [np.nan, -1]]]
)
def test_weights_of_the_wrong_sign_are_refused(wrong: list[list[float]]) -> None:
    with pytest.raises(ParameterError, match="J_EE and J_IE must be positive"):
        log_weights(wrong)


def test_layer_parameters_are_a_frozen_pytree() -> None:
    params = LayerParams.create(J)
    assert [leaf.shape for leaf in jax.tree.leaves(params)] == [(2, 2), (2,), (2, 2)]
    with pytest.raises(AttributeError):
        params.baseline = 1  # type: ignore[misc]


@pytest.mark.parametrize("wrong", [{"baseline": (1.0,)}, {"kappa": np.zeros(3)}])
def test_shapes_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ParameterError, match="must be"):
        LayerParams.create(J, **wrong)  # type: ignore[arg-type]
