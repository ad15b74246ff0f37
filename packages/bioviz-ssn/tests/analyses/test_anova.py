from __future__ import annotations

import sys

import numpy as np
import pytest
from bioviz_core.errors import DataError, MissingDependencyError
from bioviz_ssn.analyses.anova import TwoWayAnova


def observations(stage: float, orientation: float, interaction: float) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    s, o = (x.ravel() for x in np.meshgrid([0, 1], [0, 1], indexing="ij"))
    s, o = np.tile(s, 20), np.tile(o, 20)
    values = stage * s + orientation * o + interaction * s * o + rng.standard_normal(80)
    return {"values": values, "stage": np.where(s, "post", "pre"), "orientation": 55 + 70 * o}


def test_balanced_two_by_two_equals_squared_t() -> None:
    pytest.importorskip("statsmodels")
    data = observations(1.0, 0.0, 0.0)
    found = TwoWayAnova()(data)
    # By hand: sums of squares of a balanced design with 20 observations in a cell.
    values = data["values"]
    post, far = data["stage"] == "post", data["orientation"] == 125
    means = np.array([[values[(post == a) & (far == b)].mean() for b in (0, 1)] for a in (0, 1)])
    within = sum(
        ((values[(post == a) & (far == b)] - means[a, b]) ** 2).sum()
        for a in (0, 1)
        for b in (0, 1)
    )
    effect = 40 * 2 * ((means.mean(1) - means.mean()) ** 2).mean()
    assert found.scalars["f_stage"] == pytest.approx(effect / (within / 76))
    assert found.scalars["partial_eta2_stage"] == pytest.approx(effect / (effect + within))


def test_each_effect_is_found_where_it_is() -> None:
    pytest.importorskip("statsmodels")
    for effect in ("stage", "orientation", "interaction"):
        strengths = {"stage": 0.0, "orientation": 0.0, "interaction": 0.0, effect: 4.0}
        assert TwoWayAnova()(observations(**strengths)).scalars[f"p_{effect}"] < 1e-4


def test_an_absent_statsmodels_is_named_with_its_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "statsmodels.formula.api", None)
    with pytest.raises(MissingDependencyError, match=r"bioviz-ssn\[anova\]"):
        TwoWayAnova()(observations(0.0, 0.0, 0.0))


def test_an_empty_combination_is_refused() -> None:
    pytest.importorskip("statsmodels")
    data = observations(0.0, 0.0, 0.0)
    kept = ~((data["stage"] == "post") & (data["orientation"] == 125))
    with pytest.raises(DataError, match="every combination"):
        TwoWayAnova()({key: values[kept] for key, values in data.items()})
    with pytest.raises(DataError, match="as long"):
        TwoWayAnova()({**data, "stage": data["stage"][:3]})
