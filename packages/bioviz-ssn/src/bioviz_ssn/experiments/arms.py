"""One arm of an experiment: a configuration trained on many seeds, and what it did to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.lab.run import Run

import bioviz_ssn as ssn
from bioviz_ssn import examination, stages
from bioviz_ssn.ablations import Configuration
from bioviz_ssn.analyses.parameter_change import ParameterChange
from bioviz_ssn.losses import LossWeights
from bioviz_ssn.models.cohort import Cohort
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.parameters import NAMES, named
from bioviz_ssn.rejection import Accepted
from bioviz_ssn.stages import Schedule, Stage

PLACES = {"trained": 55.0, "untrained": 125.0}
"""Degrees of the reference."""
TOO_HIGH = 25.0
"""Degrees: a seed whose threshold is above this after pretraining cannot do the task."""


@dataclass
class Outcome:
    """What an arm did to each seed; arrays start with seeds, NaN marks one that was left out.

    `before` and `after` fine training. `threshold` is that of the frozen readout about 55 degrees,
    `refitted` those of readouts fitted anew about each orientation, before and after. `accuracy`
    `(2, seeds, offsets)` belongs to `threshold`. `left_out` says why seeds are missing.
    """

    seeds: tuple[int, ...]
    before: Cohort
    after: Cohort
    stages: dict[str, Stage]
    threshold: np.ndarray
    accuracy: np.ndarray
    refitted: dict[str, np.ndarray]
    left_out: dict[int, str] = field(default_factory=dict)

    @property
    def valid(self) -> np.ndarray:
        """Which seeds count, by place."""
        return np.array([place not in self.left_out for place in range(len(self.seeds))])

    def missing(self, values: Any) -> np.ndarray:
        """Values by seed, NaN for those that do not count."""
        given = np.asarray(values, float)
        keep = self.valid.reshape(-1, *[1] * (given.ndim - 1))
        return np.asarray(np.where(keep & np.isfinite(given), given, np.nan))

    def parameters(self) -> tuple[np.ndarray, np.ndarray]:
        """Every number but the readout, before and after, `(seeds, NAMES)`."""
        both = [named(cohort.params) for cohort in (self.before, self.after)]
        first, second = (np.stack([np.asarray(v[name]) for name in NAMES], -1) for v in both)
        return first, second

    def change(self) -> dict[str, np.ndarray]:
        """By parameter: percent of the size before, of kappas the difference; NaN left out."""
        names = [name for name in NAMES if name != "bias"]
        first, second = (values[:, : len(names)] for values in self.parameters())
        data = {"names": np.array(names), "before": first, "after": second}
        found = ParameterChange()(data).arrays
        change = {name: self.missing(found["change"][:, k]) for k, name in enumerate(names)}
        return change | {f"ei_{m}": self.missing(found[f"ei_ratio_{m}"]) for m in "ms"}

    def log_fall(self, thresholds: np.ndarray) -> np.ndarray:
        """By how much the logarithm of a threshold fell, by seed, from `(2, seeds)`."""
        with np.errstate(invalid="ignore", divide="ignore"):
            return self.missing(np.log(thresholds[0]) - np.log(thresholds[1]))


def pretrain(
    accepted: Accepted,
    seeds: Sequence[int],
    schedule: Schedule,
    run: Run,
    *,
    name: str,
    shuffled: bool = False,
    lambda_w: float = 1.0,
) -> dict[str, Stage]:
    """Stages 0 and 1, which arms that differ in fine training only share."""
    rates = accepted.learning_rates
    cohort, accuracy, lost = examination.first_readout(
        accepted.cohort, seeds, trials=schedule.readout_trials, shuffled=shuffled
    )
    run.note(
        f"{name}: the first readouts are right in {accuracy.mean():.2f} of held-out general "
        f"trials; {lost} of {len(seeds)} regressions stopped before they converged"
    )
    general = stages.pretrain(
        cohort, seeds, rates, schedule, run, phase=f"{name}-pretraining", shuffled=shuffled,
        weights=replace(stages.PRETRAINING, w=lambda_w),
    )  # fmt: skip
    sound = [int(place not in general.failed) for place in range(len(seeds))]
    fine = stages.train_readout(
        general.cohort, seeds, rates, schedule, run, phase=f"{name}-readout", active=sound,
        weights=LossWeights(w=lambda_w),
    )  # fmt: skip
    return {"pretraining": general, "readout": fine}


def train(
    before: dict[str, Stage],
    accepted: Accepted,
    seeds: Sequence[int],
    schedule: Schedule,
    run: Run,
    *,
    name: str,
    configuration: Configuration,
    weights: LossWeights = stages.FINE,
    test_trials: int = 200,
) -> Outcome:
    """Stage 2 from where `pretrain` ended, under a configuration, and tests before and after."""
    cohort = configured(before["readout"].cohort, configuration)
    if configuration.refit_readout:
        cohort, _, _ = examination.refitted(
            cohort, seeds, "refit", trials=schedule.readout_trials, spread=None
        )
    start = np.asarray(before["readout"].memo["threshold"])
    left_out = {
        **before["pretraining"].failed, **before["readout"].failed,
        **{
            int(place): f"threshold of {_degrees(start[place])} after pretraining"
            for place in np.flatnonzero(start > TOO_HIGH)
        },
    }  # fmt: skip
    stage = stages.train(
        cohort, seeds, accepted.learning_rates, schedule, run, phase=f"{name}-fine",
        active=[int(place not in left_out) for place in range(len(seeds))],
        configuration=configuration, first_offsets=np.minimum(start, 10).tolist(), weights=weights,
    )  # fmt: skip
    left_out |= stage.failed | _unlearned(stage, left_out)
    both = (cohort, stage.cohort)
    counts = np.stack(
        [examination.right_answers(c, seeds, "test", trials=test_trials) for c in both]
    )
    refitted = {}
    for place, reference in PLACES.items():
        task = ssn.FineTask(reference=reference)
        found = []
        for one in both:
            new, _, _ = examination.refitted(
                one, seeds, "refit", place, task=task, trials=schedule.readout_trials
            )
            right = examination.right_answers(
                new, seeds, "test", place, trials=test_trials, reference=reference
            )
            found.append(examination.measured_thresholds(right, test_trials))
        refitted[place] = np.stack(found)
    threshold = examination.measured_thresholds(counts, test_trials)
    return Outcome(
        tuple(seeds), cohort, stage.cohort, {**before, "fine": stage}, threshold,
        counts / test_trials, refitted, left_out,
    )  # fmt: skip


def configured(cohort: Cohort, configuration: Configuration) -> Cohort:
    """The cohort with a configuration's readout mix and horizontal connections."""
    network: TwoLayerSSN = cohort.network
    kernel = replace(network.superficial.kernel, p_local=configuration.p_local)
    network = replace(
        network,
        superficial=replace(network.superficial, kernel=kernel),
        readout_mix=configuration.readout_mix,
    )
    seeds, features = len(cohort), network.n_features
    if cohort.params.readout.shape[-1] != features:
        # Fitted anew before it is used.
        readout = jnp.zeros((seeds, features), cohort.params.readout.dtype)
        network = replace(network, params=replace(network.params, readout=readout))
    return replace(cohort, network=network)


def member_with_bank(cohort: Cohort, place: int, orientations: np.ndarray) -> TwoLayerSSN:
    """One seed's network with its filters, for stimuli that are no table's."""
    gains = np.asarray(cohort.table.gains[place])
    bank = ssn.GaborBank.create(orientations, gains, cohort.network.grid)
    member: Any = jax.tree.map(lambda leaf: leaf[place], replace(cohort.network, bank=None))
    found: TwoLayerSSN = replace(member, bank=bank)
    return found


def _unlearned(stage: Stage, left_out: dict[int, str]) -> dict[int, str]:
    """Seeds that never came down: the published rule of exclusion after training."""
    last = stage.memo["checks"][-10:]
    if len(last) < 10:
        return {}
    found = np.array([entry["threshold"] for entry in last])
    capped = np.array([entry["offset"] for entry in last]) >= stages.STAIRCASE.cap
    stuck = (found > 10).any(0) & (capped.sum(0) > 8)
    why = "staircase at its cap to the end"
    return {int(place): why for place in np.flatnonzero(stuck) if int(place) not in left_out}


def _degrees(threshold: float) -> str:
    return f"{threshold:.1f} degrees" if threshold < stages.UNREACHED else "no size"
