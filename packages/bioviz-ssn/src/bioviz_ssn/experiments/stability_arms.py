"""Does the stability penalty keep training stable? With it, without it, with the published term."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import numpy as np
from bioviz_core.lab.run import Run

from bioviz_ssn import stages
from bioviz_ssn.ablations import Configuration
from bioviz_ssn.experiments.arms import Outcome, configured
from bioviz_ssn.losses import LossWeights
from bioviz_ssn.models.cohort import SEEN
from bioviz_ssn.rejection import Accepted
from bioviz_ssn.stages import Stage

TREATMENTS = {
    "none": LossWeights(stability=0),
    "dx": LossWeights(stability=0, dx=1),
}


def compare(
    before: Mapping[str, Stage],
    configuration: Configuration,
    outcome: Outcome,
    accepted: Accepted,
    seeds: Sequence[int],
    config: Any,
    run: Run,
) -> dict[str, np.ndarray]:
    """Decay of the slowest mode, per ms, `(steps, seeds)`, by treatment; NaN after a seed failed.

    "penalty" is the main arm, all its seeds. The others train the first `penalty_seeds` from the
    same start on the same trials; the published term on fewer and smaller batches, since it
    backpropagates through 300 steps.
    """
    found = {"penalty": slowest(outcome.stages["fine"])}
    few = min(config.penalty_seeds, len(seeds))
    if not few:
        return found
    start = configured(before["readout"].cohort, configuration)
    cohort = jax.tree.map(lambda leaf: leaf[:few], start)
    offsets = np.minimum(before["readout"].memo["threshold"][:few], 10).tolist()
    for name, weights in TREATMENTS.items():
        schedule = config.schedule()
        steps = {"none": config.penalty_steps, "dx": config.dx_steps}[name]
        batch = {"none": config.batch, "dx": config.dx_batch}[name]
        if not steps:
            continue
        schedule = replace(schedule, steps=steps, batch=batch, check=steps)
        stage = stages.train(
            cohort, seeds[:few], accepted.learning_rates[:few], schedule, run,
            phase=f"without-penalty-{name}", configuration=configuration, first_offsets=offsets,
            active=[int(place not in outcome.left_out) for place in range(few)], weights=weights,
        )  # fmt: skip
        for place, why in stage.failed.items():
            run.note(f"{name} instead of the penalty, seed {seeds[place]} failed: {why}")
        found[name] = slowest(stage)
    return found


def slowest(stage: Stage) -> np.ndarray:
    """The slower of both layers' rates, per ms, `(steps, seeds)`; NaN once a seed has ended."""
    history = stage.history[: stage.steps].astype(float)
    rates = history[..., [SEEN.index("decay_m"), SEEN.index("decay_s")]].min(-1)
    for place in range(rates.shape[1]):
        ended = stage.memo["ended"].get(str(place), {"step": stage.steps})["step"]
        active = (
            stage.steps if str(place) in stage.memo["ended"] or stage.memo["mask"][place] else 0
        )
        rates[min(ended, active) :, place] = np.nan
    return np.asarray(rates)
