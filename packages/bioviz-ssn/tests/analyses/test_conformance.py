"""The checks that strangers run, on the registered analyses whose answer is known exactly."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from bioviz_core.testing import Case, parametrize_with_checks

ANGLES = np.arange(0.0, 360, 5)
COSINE = (3 + np.cos(2 * np.deg2rad(ANGLES - 10)))[:, None]


def apart() -> dict[str, np.ndarray]:
    """Trials of two orientations that no noise confuses."""
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 55], 30)
    gradient = np.tile(np.linspace(-1, 1, 9), 9)
    rates = 10 + rng.standard_normal((60, 2, 81)) + 500 * (labels == 55)[:, None, None] * gradient
    return {"rates": rates, "labels": labels}


def reordered(data: dict[str, Any]) -> dict[str, Any]:
    """The same cells in another order."""
    return {**data, "curves": data["curves"][:, ::-1]}


ANALYSES = [
    Case(
        "ssn/tuning-features",
        data={"orientations": ANGLES, "curves": np.hstack([COSINE, 2 * COSINE, 3 * COSINE])},
        answers={"max": 8, "min": 4, "osi": 1 / 6, "modulation": 0.5, "dsi": 0, "pref_ori": 10},
        invariances={"order of cells": reordered},
    ),
    Case("ssn/decoding", data=apart(), answers={"accuracy": 1.0}),
    Case(
        "ssn/parameter-change",
        data={
            "names": np.array(["J_EE_m", "kappa_f_E"]),
            "before": np.array([[4.0, 0.0]]),
            "after": np.array([[5.0, 0.2]]),
        },
        answers={"J_EE_m": 25, "kappa_f_E": 0.2},
    ),
]
# Two observations in each cell, 1 from its mean: 8 within, 4 degrees of freedom; stage 0 or 2: 8.
VARIANCE = Case(
    "ssn/anova",
    data={
        "values": np.array([-1.0, 1, -1, 1, 1, 3, 1, 3]),
        "stage": np.repeat(["pre", "post"], 4),
        "orientation": np.tile([55, 55, 125, 125], 2),
    },
    answers={"f_stage": 4, "f_orientation": 0, "partial_eta2_stage": 0.5},
)


@parametrize_with_checks(analyses=[*ANALYSES, VARIANCE])
def test_analyses_conform(case: Case, check: Any) -> None:
    if case is VARIANCE:
        pytest.importorskip("statsmodels")
    check(case)
