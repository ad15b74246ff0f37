"""The three stages of training: general pretraining, the fine readout, fine training.

Each goes through core's `fit`, many seeds at once. What a stage decides about each seed between
steps, such as its staircase or that it is done, is JSON in the memo, and its batches are a function
of the memo: so a stage that was killed goes on bit for bit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.errors import DivergedError
from bioviz_core.interfaces import Batch, Field
from bioviz_core.lab import seeding
from bioviz_core.lab.fit import Memo, Progress, fit
from bioviz_core.lab.run import Run
from numpy.typing import ArrayLike
from scipy.stats import linregress, mannwhitneyu

from bioviz_ssn.ablations import PRETRAINED, Configuration, trained_mask
from bioviz_ssn.examination import (
    OFFSETS,
    central,
    general_mean_rates,
    measured_thresholds,
    restricted,
    right_answers,
)
from bioviz_ssn.losses import LossWeights
from bioviz_ssn.models.cohort import SEEN, Cohort
from bioviz_ssn.psychophysics import Staircase
from bioviz_ssn.rules.perceptual_learning import PerceptualLearning
from bioviz_ssn.tasks import FineTask, GeneralTask, Task, Trials

PRETRAINING = LossWeights(task=0.5, r_mean=0.01)
FINE = LossWeights()
STAIRCASE = Staircase()
UNREACHED = 1e9
"""Degrees: how a threshold that is not reached is kept in JSON, which has no infinity."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long each stage is, and how often and on how many trials it is tested."""

    pretraining_steps: int = 1000
    pretraining_batch: int = 100
    pretraining_check: int = 2
    earliest_end: int = 50
    readout_trials: int = 1000
    readout_steps: int = 60
    steps: int = 1500
    batch: int = 50
    check: int = 10
    check_trials: int = 300
    psychometric_trials: int = 100
    earliest_plateau: int = 1000
    window: int = 10
    checkpoint: int = 100


@dataclass(frozen=True)
class Stage:
    """What a stage left: cohort, memo, and what each step showed, `(steps, seeds, SEEN)`.

    `offsets (steps, seeds)` are the staircase's after each step, in degrees.
    """

    cohort: Cohort
    memo: Memo
    history: np.ndarray
    offsets: np.ndarray
    steps: int

    @property
    def failed(self) -> dict[int, str]:
        """Why seeds failed, by their place."""
        return {int(place): str(why) for place, why in self.memo["failed"].items()}


class Session:
    """New trials for every seed, with what a stage has decided so far; a core `StimulusSource`.

    `offsets (seeds,)` stand in for the fine task's. `mask` is 1 for the seeds that learn, `flip`
    for those whose readout is turned over. Seeds in `shuffled` get labels that mean nothing.
    """

    def __init__(
        self,
        trials: Trials,
        *,
        mask: ArrayLike,
        flip: ArrayLike | None = None,
        offsets: ArrayLike | None = None,
        shuffled: bool = False,
    ) -> None:
        self._trials, self._offsets, self._shuffled = trials, offsets, shuffled
        self._mask = np.asarray(mask, np.float32)
        self._flip = np.zeros_like(self._mask) if flip is None else np.asarray(flip, np.float32)
        choice = Field(self._mask.shape, "float32", 0, 1)
        fields = {key: trials.fields[key] for key in PerceptualLearning.reads}
        self.fields = {**fields, "mask": choice, "flip": choice}

    def __len__(self) -> int:
        return len(self._trials)

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """The trials of these indices."""
        batch: dict[str, Any] = dict(self._trials.batch(indices, epoch=epoch))
        if self._offsets is not None:
            task = cast(FineTask, self._trials.task)
            pairs = task.pairs(batch["uniforms"], offset=np.asarray(self._offsets, np.float32))
            batch["orientations"] = pairs["orientations"].astype(np.float32)
        if self._shuffled:
            # The low digits of a uniform number know nothing of the stimuli.
            batch["labels"] = (batch["uniforms"][..., 0] * 2**20 % 2 >= 1).astype(np.int64)
        # Not read by the rule, and of another shape in each task: the step would compile anew.
        del batch["uniforms"], batch["index"]
        for key, values in (("mask", self._mask), ("flip", self._flip)):
            batch[key] = np.broadcast_to(values, batch["labels"].shape)
        return cast(Batch, batch)


def pretrain(
    cohort: Cohort,
    seeds: Sequence[int],
    learning_rates: np.ndarray,
    schedule: Schedule,
    run: Run,
    *,
    phase: str,
    weights: LossWeights = PRETRAINING,
    shuffled: bool = False,
) -> Stage:
    """Stage 0: everything but kappas learns the general task, the readout over the whole grid.

    A seed ends once its last two thresholds of the fine task lie in (5, 25) degrees. Where its fine
    answers are upside down (accuracy falls with the offset, and below 1/2 at 4 degrees), the
    central readout is turned over. The cohort that comes back aims at the rates that it has now.
    """
    rule = PerceptualLearning.create(
        trained_mask(PRETRAINED, cohort.params, readout=True),
        weights=weights,
        learning_rate=learning_rates,
    )

    def check(now: Progress[Any], record: _Record) -> None:
        memo = now.memo
        memo["flip"] = [0] * len(seeds)
        if now.step % schedule.pretraining_check and now.step != schedule.pretraining_steps:
            return
        counts = right_answers(
            restricted(now.model),
            seeds,
            "pretraining",
            now.step,
            trials=schedule.psychometric_trials,
        )
        share = counts / schedule.psychometric_trials
        found = measured_thresholds(counts, schedule.psychometric_trials)
        memo["checks"].append({"step": now.step, "accuracy": share.tolist(), **_capped(found)})
        memo["flip"] = [int(_upside_down(row)) for row in share]
        if now.step >= schedule.earliest_end and len(memo["checks"]) > 1:
            last = np.array([entry["threshold"] for entry in memo["checks"][-2:]])
            passed = ((last > 5) & (last < 25)).all(0)
            # A seed that failed before keeps its reason.
            for place in np.flatnonzero(passed & record.active(now)):
                record.end(now, int(place), "thresholds in (5, 25)")

    stage = _run_stage(
        cohort, rule, GeneralTask(), seeds, run, stage="pretraining", phase=phase,
        steps=schedule.pretraining_steps,
        batch=schedule.pretraining_batch, check=check, checkpoint=schedule.checkpoint,
        shuffled=shuffled,
    )  # fmt: skip
    rates = general_mean_rates(stage.cohort, seeds, schedule.psychometric_trials)
    return replace(stage, cohort=replace(stage.cohort, mean_rates=jnp.asarray(rates)))


def train_readout(
    cohort: Cohort,
    seeds: Sequence[int],
    learning_rates: np.ndarray,
    schedule: Schedule,
    run: Run,
    *,
    phase: str,
    active: Sequence[int],
    weights: LossWeights = FINE,
) -> Stage:
    """Stage 1: the central readout alone learns the fine task, at an offset of 4 degrees.

    A seed ends when the mean accuracy of its last three batches passes 0.65 and its threshold is
    below 20 degrees: longer, and nothing is left for the network to learn.
    """
    cohort = restricted(cohort)
    mask = trained_mask((), cohort.params, readout=True)
    mask = replace(mask, readout=mask.readout * central(cohort))
    rule = PerceptualLearning.create(mask, weights=weights, learning_rate=learning_rates)

    def check(now: Progress[Any], record: _Record) -> None:
        recent = record.history[max(now.step - 3, 0) : now.step, :, SEEN.index("accuracy")]
        passed = (recent.mean(0) > 0.65) & (now.step >= 3)
        last = now.step == schedule.readout_steps
        if not (last or (passed & record.active(now)).any()):
            return
        counts = right_answers(
            now.model, seeds, "readout", now.step, trials=schedule.psychometric_trials
        )
        found = measured_thresholds(counts, schedule.psychometric_trials)
        share = counts / schedule.psychometric_trials
        now.memo["checks"].append({"step": now.step, "accuracy": share.tolist(), **_capped(found)})
        for place in np.flatnonzero(record.active(now)):
            if last or (passed[place] and found[place] < 20):
                now.memo["threshold"][place] = _capped(found)["threshold"][place]
                reason = "accuracy over 0.65, threshold under 20" if found[place] < 20 else "steps"
                record.end(now, int(place), reason)

    return _run_stage(
        cohort, rule, FineTask(), seeds, run, stage="readout", phase=phase,
        steps=schedule.readout_steps,
        batch=schedule.batch, check=check, active=active, offsets=[4.0] * len(seeds),
        checkpoint=schedule.checkpoint,
    )  # fmt: skip


def train(
    cohort: Cohort,
    seeds: Sequence[int],
    learning_rates: np.ndarray,
    schedule: Schedule,
    run: Run,
    *,
    phase: str,
    active: Sequence[int],
    configuration: Configuration,
    first_offsets: Sequence[float],
    weights: LossWeights = FINE,
    staircase: Staircase = STAIRCASE,
) -> Stage:
    """Stage 2: the network learns under a frozen readout, the offset following each seed.

    At a check, new trials are answered at the current offset about the trained 55 and about 125
    degrees, and at the offsets of the psychometric function about 55. From `earliest_plateau` on a
    seed ends when its accuracies at 1, 3 and 7 degrees are no different between the last two
    windows of checks (Mann-Whitney, p > 0.05 each).
    """
    mask = trained_mask(configuration.trained, cohort.params)
    rule = PerceptualLearning.create(mask, weights=weights, learning_rate=learning_rates)
    fine = configuration.task == "fine"
    steps = [list(staircase.start(offset)) for offset in first_offsets]

    def check(now: Progress[Any], record: _Record) -> None:
        memo = now.memo
        accuracy = record.history[now.step - 1, :, SEEN.index("accuracy")]
        for place in np.flatnonzero(record.active(now)) if fine else ():
            offset, passes = memo["staircase"][place]
            state = staircase.update(
                staircase.start(offset)._replace(passes=passes), accuracy[place]
            )
            memo["staircase"][place] = list(state)
        if now.step % schedule.check and now.step != schedule.steps:
            return
        offsets = np.array([[offset for offset, _ in memo["staircase"]]])
        trials = schedule.check_trials
        at = {
            name: right_answers(
                now.model,
                seeds,
                "fine",
                name,
                now.step,
                offsets=offsets,
                trials=trials,
                reference=r,
            )[:, 0]
            / trials
            for name, r in (("val_acc", 55.0), ("acc_untrained", 125.0))
        }
        trials = schedule.psychometric_trials
        counts = right_answers(now.model, seeds, "fine", "psychometric", now.step, trials=trials)
        found = measured_thresholds(counts, trials)
        memo["checks"].append(
            {
                "step": now.step, "offset": offsets[0].tolist(),
                "accuracy": (counts / trials).tolist(), **_capped(found),
                **{name: share.tolist() for name, share in at.items()},
            }
        )  # fmt: skip
        if now.step >= schedule.earliest_plateau:
            for place in np.flatnonzero(record.active(now)):
                if _plateau(memo["checks"], int(place), schedule.window):
                    record.end(now, int(place), "plateau")

    return _run_stage(
        cohort, rule, FineTask() if fine else GeneralTask(), seeds, run, stage="fine", phase=phase,
        steps=schedule.steps, batch=schedule.batch, check=check, active=active,
        staircase=steps if fine else None, checkpoint=schedule.checkpoint,
    )  # fmt: skip


class _Record:
    """What a stage writes down beside the memo: every step of every seed."""

    def __init__(self, run: Run, phase: str, steps: int, seeds: int) -> None:
        self.history = run.array_writer(f"{phase}-history", (steps, seeds, len(SEEN)), "float32")
        self.offsets = run.array_writer(f"{phase}-offsets", (steps, seeds), "float32")

    def step(self, now: Progress[Any]) -> None:
        """Keep what the step showed; end seeds that it could not go on with."""
        seen = jax.device_get(now.model.seen)
        shown = np.stack([seen[name] for name in SEEN], -1)
        # A seed that has ended stays as it was last seen.
        before = self.history[max(now.step - 2, 0)]
        self.history[now.step - 1] = np.where(self.active(now)[:, None], shown, before)
        for place in np.flatnonzero(self.active(now) & (seen["sound"] == 0)):
            lost, loss = seen["n_unconverged"][place], seen["loss"][place]
            why = f"step {now.step}: loss {loss:.3g}, {lost:.0f} states not found"
            now.memo["failed"][str(place)] = why
            self.end(now, int(place), why)

    def stage(self, cohort: Cohort, memo: Memo, steps: int) -> Stage:
        """What is left after so many steps."""
        return Stage(cohort, memo, np.asarray(self.history), np.asarray(self.offsets), steps)

    def active(self, now: Progress[Any]) -> np.ndarray:
        """Which seeds learn."""
        return np.asarray(now.memo["mask"], bool)

    def end(self, now: Progress[Any], place: int, why: str) -> None:
        """A seed learns no more."""
        now.memo["mask"][place] = 0
        now.memo["ended"][str(place)] = {"step": now.step, "why": why}


def _run_stage(
    cohort: Cohort,
    rule: PerceptualLearning,
    task: Task,
    seeds: Sequence[int],
    run: Run,
    *,
    stage: str,
    phase: str,
    steps: int,
    batch: int,
    check: Any,
    checkpoint: int,
    active: Sequence[int] | None = None,
    offsets: Sequence[float] | None = None,
    staircase: list[list[float]] | None = None,
    shuffled: bool = False,
) -> Stage:
    count = len(seeds)
    streams = [seeding.seed_for(seed, "trials", stage) for seed in seeds]
    trials = Trials(task, seeds=streams, noise=cohort.n_noise)
    record = _Record(run, phase, steps, count)
    start: Memo = {
        "mask": [1] * count if active is None else list(active), "flip": [0] * count,
        "checks": [], "ended": {}, "failed": {}, "threshold": [UNREACHED] * count,
        "staircase": staircase or [[o, 0] for o in offsets or [4.0] * count],
    }  # fmt: skip
    tested = staircase is not None or offsets is not None

    def session(memo: Memo) -> Session:
        now = memo or start
        return Session(
            trials,
            mask=now["mask"],
            flip=now["flip"],
            offsets=[offset for offset, _ in now["staircase"]] if tested else None,
            shuffled=shuffled,
        )

    def after(now: Progress[Any]) -> None:
        if not now.memo:
            now.memo.update(start)
        record.step(now)
        lost = [str(place) in now.memo["failed"] for place in range(count)]
        alive = np.asarray(now.model.alive) * ~np.array(lost)
        now.model = replace(now.model, alive=jnp.asarray(alive, now.model.alive.dtype))
        check(now, record)
        record.offsets[now.step - 1] = [offset for offset, _ in now.memo["staircase"]]
        now.done = not record.active(now).any()
        if now.done and len(now.memo["failed"]) == count:
            raise DivergedError(now.step, "every seed: " + now.memo["failed"]["0"])

    if not any(start["mask"]):
        return record.stage(cohort, start, 0)
    model, learning, source = cast(Any, cohort), cast(Any, rule), cast(Any, session)
    fitted: Any = fit(
        model, learning, source, steps=steps, batch_size=batch, run=run, phase=phase, after=after,
        checkpoint_every=checkpoint,
    )  # fmt: skip
    return record.stage(fitted.model, fitted.memo, fitted.steps)


def _capped(found: np.ndarray) -> dict[str, list[float]]:
    return {"threshold": np.minimum(found, UNREACHED).tolist()}


def _upside_down(share: np.ndarray) -> bool:
    """Does accuracy fall with the offset, and is it below chance at 4 degrees?"""
    line = linregress(OFFSETS, share)
    # The line stands in for offset 4, which is between the levels that are tested.
    at_four = line.intercept + 4 * line.slope
    return bool(line.slope < -0.01 and line.pvalue < 0.05 and at_four < 0.5)


def _plateau(checks: Sequence[dict[str, Any]], place: int, window: int) -> bool:
    if len(checks) < 2 * window:
        return False
    accuracy = np.array([entry["accuracy"][place] for entry in checks[-2 * window :]])
    pairs = [(accuracy[:window, k], accuracy[window:, k]) for k in range(3)]
    return all(mannwhitneyu(before, after).pvalue > 0.05 for before, after in pairs)
