"""Numbers, tables and tiles of the learning experiments."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from bioviz_core.interfaces import Measured
from bioviz_core.lab.run import Run

from bioviz_butd.experiments.arms import Outcome, differing_weights
from bioviz_butd.experiments.pictures import NAME

Outcomes = Mapping[str, Sequence[Outcome]]


def measured(outcomes: Outcomes, *, prefix: str = "") -> dict[str, Measured]:
    """Accuracies (%), their paired difference, differing weights and mean angles, by seed."""
    final = {arm: [one.last.accuracy for one in of] for arm, of in outcomes.items()}
    found: dict[str, Measured] = {f"accuracy_{arm}": values for arm, values in final.items()}
    pairs = zip(final["separate"], final["backprop"], strict=True)
    found["separate_minus_backprop"] = [separate - backprop for separate, backprop in pairs]
    if "shared" in outcomes:
        both = zip(outcomes["backprop"], outcomes["shared"], strict=True)
        found["differing_weights"] = [differing_weights(a.net, b.net) for a, b in both]
    for arm in _with_feedback(outcomes):
        found[f"angle_{arm}"] = [float(np.mean(one.last.weight_angles)) for one in outcomes[arm]]
    return {prefix + name: value for name, value in found.items()}


def tables(run: Run, label: str, outcomes: Outcomes, *, suffix: str = "") -> None:
    """Accuracy by arm and seed, and the angles of each layer at the end."""
    rows = [(arm, run.seed + i, one) for arm, of in outcomes.items() for i, one in enumerate(of)]
    columns: dict[str, list[Any]] = {
        "rule": [NAME[arm] for arm, _, _ in rows],
        "seed": [seed for _, seed, _ in rows],
        "accuracy": [one.last.accuracy for _, _, one in rows],
    }
    caption = f"{label}: test accuracy (%) after the last step."
    run.table(f"accuracy{suffix}", columns, caption)
    angles = [
        (NAME[arm], seed, layer, weight, update)
        for arm, seed, one in rows
        if arm in _with_feedback(outcomes)
        for layer, (weight, update) in enumerate(
            zip(one.last.weight_angles, one.last.update_angles, strict=True), 1
        )
    ]
    names = ("rule", "seed", "layer", "weight angle", "update angle")
    run.table(
        f"angles{suffix}", dict(zip(names, zip(*angles, strict=True), strict=True)),
        f"{label}: angles in degrees after the last step, of W to B and of update to gradient.",
    )  # fmt: skip


def tiles(run: Run, label: str, outcomes: Outcomes) -> None:
    """Mean accuracies and the angle of the streams as key numbers of the report."""
    for arm in ("backprop", "separate", "feedback"):
        if arm in outcomes:
            mean = float(np.mean([one.last.accuracy for one in outcomes[arm]]))
            run.number(f"{label}{NAME[arm]}", mean, "%")
    angle = float(np.mean([one.last.weight_angles for one in outcomes["separate"]]))
    run.number(f"{label}angle of the streams", angle, "°")


def _with_feedback(outcomes: Outcomes) -> list[str]:
    return [arm for arm in ("separate", "feedback") if arm in outcomes]
