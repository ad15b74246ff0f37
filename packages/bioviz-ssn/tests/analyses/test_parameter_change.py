from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.errors import DataError
from bioviz_ssn.analyses.parameter_change import ParameterChange

NAMES = np.array(["J_EE_m", "J_EI_m", "J_IE_m", "J_II_m", "c_E", "kappa_f_E"])
BEFORE = np.array([[4.0, -2.0, 5.0, -1.0, 5.0, 0.0]])


def test_changes_are_percent_and_of_kappas_absolute() -> None:
    after = np.array([[4.4, -1.0, 5.0, -1.5, 4.0, 0.3]])
    found = ParameterChange()({"names": NAMES, "before": BEFORE, "after": after})
    np.testing.assert_allclose(found.arrays["change"], [[10, -50, 0, 50, -20, 0.3]])
    assert found.scalars["J_II_m"] == pytest.approx(50)
    assert found.plot().has_data()


def test_ratio_of_inhibition_to_excitation_is_by_layer() -> None:
    after = np.array([[4.0, -2.0, 5.0, -2.5, 5.0, 0.0]])
    found = ParameterChange()({"names": NAMES, "before": BEFORE, "after": after})
    # From 3 / 9 to 4.5 / 9.
    np.testing.assert_allclose(found.arrays["ei_ratio_m"], [50])
    assert "ei_ratio_s" not in found.arrays


def test_correlations_are_with_the_change_of_threshold() -> None:
    before = np.repeat(BEFORE, 4, axis=0)
    after = before.copy()
    after[:, 0] += [0.1, 0.2, 0.3, 0.4]
    data = {
        "names": NAMES, "before": before, "after": after,
        "threshold_before": np.full(4, 5.0), "threshold_after": np.array([4.0, 3.0, 2.0, 1.0]),
    }  # fmt: skip
    found = ParameterChange()(data)
    assert found.arrays["correlation"][0] == pytest.approx(-1)
    assert np.isnan(found.arrays["correlation"][1])


def test_what_has_no_relative_change_is_refused() -> None:
    start = BEFORE * [[1, 1, 1, 1, 0, 1]]
    with pytest.raises(DataError, match="c_E"):
        ParameterChange()({"names": NAMES, "before": start, "after": BEFORE})
    with pytest.raises(DataError, match="must be"):
        ParameterChange()({"names": NAMES, "before": BEFORE, "after": BEFORE[:, :3]})
    data = {"names": NAMES, "before": BEFORE, "after": BEFORE}
    with pytest.raises(DataError, match="three runs"):
        ParameterChange()({**data, "threshold_before": np.ones(1), "threshold_after": np.ones(1)})
