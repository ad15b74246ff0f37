"""Every analysis that core registers, by its name, on data of which the answer is known."""

from __future__ import annotations

from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
from bioviz_core.testing import cases
from bioviz_core.testing.tasks import Case

RNG = np.random.default_rng(0)
X = RNG.normal(size=(24, 6))
TURN = np.arange(0, 360, 15.0)
TUNED = 2 + np.cos(np.deg2rad(2 * (TURN - 30)))[:, None] * [1.0, 0.5]
LABELS = np.arange(24) % 2
TWINS = {"activations": X, "reference": 3 * X @ np.linalg.qr(RNG.normal(size=(6, 6)))[0] + 1}
SIGNS = np.array([[1.0, 1, 1], [1, -1, -1], [-1, 1, -1], [-1, -1, 1]])

DATA: dict[str, tuple[dict[str, Any], dict[str, float]]] = {
    # Two patterns and their opposites: r is -1 for two of the six pairs, and 0 for four.
    "rdm": ({"activations": np.array([[1.0, -1, 0, 0], [-1, 1, 0, 0], [0, 0, 1, -1],
                                      [0, 0, -1, 1]])}, {"mean": 8 / 6}),
    "rsa": ({"activations": X, "reference": 5 * X + 2}, {"rsa": 1.0}),
    "cka": (TWINS, {"cka": 1.0}),
    "procrustes": (TWINS, {"angle": 0.0}),
    "orientation-tuning": ({"activations": TUNED, "orientation": TURN},
                           {"osi": (1 / 4 + 1 / 8) / 2, "dsi": 0.0, "tuned_share": 1.0}),
    "class-selectivity": ({"activations": np.stack([LABELS, LABELS + 1.0], 1), "labels": LABELS},
                          {"selectivity": (1 + 1 / 3) / 2}),
    "linear-readout": ({"activations": X + 90 * LABELS[:, None], "labels": LABELS},
                       {"accuracy": 1.0, "chance": 0.5}),
    "population": ({"activations": SIGNS},
                   {"sparseness": 0.0, "participation_ratio": 3.0, "mean_response": 1.0}),
}  # fmt: skip


def shuffled(data: dict[str, Any]) -> dict[str, Any]:
    order = np.random.default_rng(1).permutation(len(data["activations"]))
    return {key: value[order] for key, value in data.items()}


def test_every_registered_analysis_is_here() -> None:
    assert {ref.name for ref in bv.list("analysis", "core/*")} == {f"core/{name}" for name in DATA}


@pytest.mark.parametrize("check", cases.CHECKS["analysis"].values(), ids=cases.CHECKS["analysis"])
@pytest.mark.parametrize("name", DATA)
def test_the_known_answer_comes_out_whatever_the_order_of_samples(name: str, check: Any) -> None:
    data, answers = DATA[name]
    # A read-out's split depends on the order; its scores then differ by chance.
    invariances = {} if name == "linear-readout" else {"the order of samples": shuffled}
    check(Case(f"core/{name}", data=data, answers=answers, invariances=invariances))
