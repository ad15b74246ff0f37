from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.power_law import PowerLaw

U = np.array([-3.0, 0.0, 1.0, 2.5])


@pytest.mark.parametrize("n", [1.0, 1.5, 2.0, 3.0])
def test_gain_is_the_slope_of_the_rate_and_zero_where_silent(n: float, x64: None) -> None:
    law = PowerLaw(0.04, n)
    np.testing.assert_allclose(law.rate(jnp.array(U)), 0.04 * np.maximum(U, 0) ** n, rtol=1e-14)
    slope = jax.vmap(jax.grad(law.rate))(jnp.array(U))
    np.testing.assert_allclose(slope, law.gain(jnp.array(U)), rtol=1e-12)
    assert slope[0] == slope[1] == 0


@pytest.mark.parametrize(("k", "n", "field"), [(0, 2, "k"), (-1, 2, "k"), (0.04, 0.5, "n")])
def test_settings_without_a_meaning_are_refused(k: float, n: float, field: str) -> None:
    with pytest.raises(ParameterError, match=f"^{field} must be"):
        PowerLaw(k, n)
