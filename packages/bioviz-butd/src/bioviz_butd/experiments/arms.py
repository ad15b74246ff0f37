"""Arms of an experiment: one network trained by one rule, paired by seed with the others."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from bioviz_core.interfaces import StimulusSource
from bioviz_core.lab.fit import Progress, fit
from bioviz_core.lab.run import Run

import bioviz_butd as butd

PROBE = 256  # samples on which updates are compared with gradients


@dataclass(frozen=True, slots=True)
class Arm:
    """A rule and the top-down weights that it learns through."""

    name: str
    label: str
    td_weights: str
    decays: bool = False


ARMS = {
    arm.name: arm
    for arm in (
        Arm("backprop", "backprop", "shared"),
        Arm("shared", "Counter-Hebb, shared", "shared"),
        Arm("separate", "Counter-Hebb, separate", "separate", decays=True),
        Arm("feedback", "feedback alignment", "separate"),
    )
}


@dataclass(frozen=True, slots=True)
class Schedule:
    """How long and how fast the arms learn; the same for all, but for the decay."""

    steps: int
    batch_size: int
    learning_rate: float
    decay: float
    evaluations: int
    steps_per_epoch: int = 0
    rate_per_epoch: float = 1.0


@dataclass(frozen=True, slots=True)
class Evaluation:
    """A network at one step: test accuracy and error (%), and angles (degrees) by layer."""

    step: int
    accuracy: float
    weight_angles: tuple[float, ...]
    update_angles: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What training an arm left: the network and its evaluations, from step 0 to the last."""

    net: Any
    evaluations: tuple[Evaluation, ...]

    @property
    def last(self) -> Evaluation:
        """The evaluation after the last step."""
        return self.evaluations[-1]


def train(
    arm: Arm, make: Callable[..., Any], phase: str, *, source: StimulusSource,
    test: Mapping[str, np.ndarray], schedule: Schedule, run: Run, seed: int,
) -> Outcome:  # fmt: skip
    """Train one arm on `make(td_weights=..., seed=...)`; the arms of a pair share `seed`."""
    net = make(td_weights=arm.td_weights, seed=seed)
    probe = source.batch(list(range(min(PROBE, len(source)))))
    first = evaluate(net, 0, test, probe)
    every = max(1, schedule.steps // schedule.evaluations)

    def after(progress: Progress[Any]) -> None:
        if progress.step % every == 0 or progress.step == schedule.steps:
            found = evaluate(progress.model, progress.step, test, probe)
            row = [found.step, found.accuracy, found.weight_angles, found.update_angles]
            progress.memo.setdefault("evaluations", []).append(row)

    fitted = fit(
        net, rule(arm, schedule), source, steps=schedule.steps, batch_size=schedule.batch_size,
        run=run, phase=phase, after=after, seed=seed, log_every=max(1, schedule.steps // 40),
        checkpoint_every=max(1, schedule.steps // 4),
    )  # fmt: skip
    rows = [
        Evaluation(step, accuracy, tuple(weights), tuple(updates))
        for step, accuracy, weights, updates in fitted.memo["evaluations"]
    ]
    return Outcome(fitted.model, (first, *rows))


def rule(arm: Arm, schedule: Schedule) -> Any:
    """The arm's rule. Decay is AdamW's, so separate weights converge by it alone."""
    import torch

    optimizer = partial(
        torch.optim.AdamW, lr=schedule.learning_rate,
        weight_decay=schedule.decay if arm.decays else 0.0,
    )  # fmt: skip
    rules = {"backprop": butd.Backprop, "feedback": butd.FeedbackAlignment}
    made: Any = rules.get(arm.name, butd.CounterHebb)
    if schedule.rate_per_epoch == 1:
        return made(optimizer)
    fall = partial(
        torch.optim.lr_scheduler.StepLR, step_size=schedule.steps_per_epoch,
        gamma=schedule.rate_per_epoch,
    )  # fmt: skip
    return made(optimizer, scheduler=fall)


def evaluate(
    net: Any, step: int, test: Mapping[str, np.ndarray], probe: Mapping[str, Any]
) -> Evaluation:
    """Accuracy on the test images, and the angles of each layer."""
    report = butd.alignment_report(net, on_device(net, probe))
    return Evaluation(
        step, accuracy(net, test), tuple(row.angle for row in report),
        tuple(float(row.update_angle or 0.0) for row in report),
    )  # fmt: skip


def accuracy(net: Any, test: Mapping[str, np.ndarray], *, size: int = 1000) -> float:
    """Share of right answers in percent, in evaluation mode."""
    from bioviz_core.bridge.torch import quiet

    right, count = 0, len(test["labels"])
    with quiet(net):
        for start in range(0, count, size):
            part = {key: test[key][start : start + size] for key in ("inputs", "labels")}
            batch = on_device(net, part)
            right += int((net(batch["inputs"]).argmax(1) == batch["labels"]).sum())
    return 100 * right / count


def on_device(net: Any, batch: Mapping[str, Any]) -> Any:
    """A batch as tensors where the network is, in its dtype."""
    import torch

    weight = next(net.parameters())
    inputs = torch.from_numpy(np.array(batch["inputs"])).to(weight.device, weight.dtype)
    labels = torch.from_numpy(np.array(batch["labels"])).to(weight.device)
    return {"inputs": inputs, "labels": labels}


def differing_weights(first: Any, second: Any) -> int:
    """How many bottom-up weights of two networks do not have the same bits."""
    pairs = zip(first.module.parameters(), second.module.parameters(), strict=True)
    return sum(int((a != b).sum()) for a, b in pairs)
