"""Measuring a threshold: the staircase that follows it, and the psychometric function."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np
from bioviz_core.analyses import intervals
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError

Form = Literal["loglinear", "weibull"]

THRESHOLD_ACCURACY = 0.749
"""Share of right answers that defines the threshold: what a 3-down-1-up staircase converges to."""
LARGEST = 90.0
"""Degrees; two orientations differ by no more."""


class StaircaseState(NamedTuple):
    """The current offset in degrees, and how many passes came in a row since it last changed."""

    offset: float
    passes: int = 0


@dataclass(frozen=True, slots=True)
class Staircase:
    """n-down-1-up: `down_after` passes in a row make the task harder by `step`, a fail easier.

    A block of trials passes where its accuracy is at least `criterion`. The offset stays within
    `floor` and `cap`, in degrees, and the count of passes starts anew at every change. With
    `legacy` it does not, and there is no floor: the published code goes down at every pass from the
    third.
    """

    step: float = 0.1
    cap: float = 10.0
    floor: float = 0.1
    criterion: float = 0.75
    down_after: int = 3
    legacy: bool = False

    def __post_init__(self) -> None:
        if not (self.step > 0 and 0 < self.floor < self.cap and 0 < self.criterion <= 1):
            raise ParameterError(
                f"step and criterion must be positive and 0 < floor < cap, got {self}"
            )
        if self.down_after < 1:
            raise ParameterError(f"down_after must be at least 1, got {self.down_after}")

    def start(self, offset: float) -> StaircaseState:
        """The first state, its offset brought within the limits."""
        return StaircaseState(self._limited(offset))

    def update(self, state: StaircaseState, accuracy: float) -> StaircaseState:
        """The state after a block of trials with this accuracy."""
        if not 0 <= accuracy <= 1:
            raise ParameterError(f"an accuracy lies between 0 and 1, got {accuracy}")
        if accuracy < self.criterion:
            return StaircaseState(self._limited(state.offset + self.step))
        passes = state.passes + 1
        if passes < self.down_after:
            return StaircaseState(state.offset, passes)
        lower = self._limited(state.offset - self.step)
        return StaircaseState(lower, passes if self.legacy else 0)

    def _limited(self, offset: float) -> float:
        # Rounded, or a hundred steps of 0.1 would not lead back to where they began.
        floor = -np.inf if self.legacy else self.floor
        return float(min(max(round(offset, 9), floor), self.cap))


@dataclass(frozen=True, slots=True)
class Psychometric:
    """A fitted psychometric function and the counts it rests on.

    `slope` and `intercept` are those of a straight line over ln(offset): of the accuracy for
    "loglinear", of `ln(-ln(2 (1 - accuracy)))` for "weibull". `threshold` is in degrees, and inf,
    with `reached` False, where accuracy does not rise or the threshold would pass 90 degrees.
    """

    form: Form
    offsets: np.ndarray
    correct: np.ndarray
    total: np.ndarray
    slope: float
    intercept: float
    threshold: float
    reached: bool

    def accuracy(self, offsets: ArrayLike) -> np.ndarray:
        """The fitted share of right answers, unclipped."""
        line = self.slope * np.log(np.asarray(offsets, float)) + self.intercept
        return np.asarray(line if self.form == "loglinear" else 1 - np.exp(-np.exp(line)) / 2)

    def interval(self, *, rng: np.random.Generator, level: float = 0.95) -> intervals.Interval:
        """Bootstrap over trials of the threshold; an end beyond 90 degrees is inf."""
        # A trial is one number: which offset, and whether it was right.
        codes = [
            np.repeat([2 * k + 1, 2 * k], [right, number - right])
            for k, (right, number) in enumerate(zip(self.correct, self.total, strict=True))
        ]
        bins = 2 * len(self.offsets)

        def statistic(trials: np.ndarray, axis: int) -> np.ndarray:
            del axis  # the last one
            codes = trials.astype(int)
            counts = np.stack([(codes == k).sum(-1) for k in range(bins)], -1)
            right, number = counts[..., 1::2], counts[..., ::2] + counts[..., 1::2]
            found = thresholds(self.offsets, right, number, form=self.form)[0]
            return np.asarray(np.minimum(found, LARGEST))

        found = intervals.bootstrap(
            np.concatenate(codes).astype(float), rng=rng, level=level, statistic=statistic
        )
        estimate, low, high = (end if end < LARGEST else np.inf for end in found[:3])
        return intervals.Interval(estimate, low, high, found.n)


def fit_psychometric(
    offsets: ArrayLike, correct: ArrayLike, total: ArrayLike, *, model: Form = "loglinear"
) -> Psychometric:
    """Fit accuracy against offset, and solve it for the threshold in closed form.

    "loglinear": `accuracy = a ln(offset) + b` by least squares, as the published code has it;
    `threshold = exp((0.749 - b) / a)`. "weibull": `accuracy = 1 - exp(-(offset / alpha)^beta) / 2`
    by weighted least squares on its straightened form; `threshold = alpha (-ln 0.502)^(1 / beta)`.
    `correct` of `total` trials were right at each offset, in degrees.
    """
    x, right, number = (np.atleast_1d(np.asarray(v)) for v in (offsets, correct, total))
    number = np.broadcast_to(number, x.shape)
    if model not in get_args(Form):
        raise ParameterError(f"model must be one of {get_args(Form)}, got {model!r}")
    if x.ndim != 1 or right.shape != x.shape or len(np.unique(x)) < 2:
        raise ParameterError(
            f"needs right answers at two different offsets or more, got offsets {x.tolist()} and "
            f"counts {right.tolist()}"
        )
    if not ((x > 0).all() and np.isfinite(x).all()):
        raise ParameterError(f"offsets must be positive and finite, got {x.tolist()}")
    whole = all((values == np.round(values)).all() for values in (right, number))
    if not whole or not ((right >= 0) & (right <= number) & (number > 0)).all():
        raise ParameterError(
            f"correct must be counts between 0 and total, got {right.tolist()} of {number.tolist()}"
        )
    right, number = right.astype(int), number.astype(int)
    threshold, slope, intercept = thresholds(x, right, number, form=model)
    reached = bool(np.isfinite(threshold))
    return Psychometric(
        model, x.astype(float), right, number, float(slope), float(intercept), float(threshold),
        reached,
    )  # fmt: skip


def thresholds(
    offsets: ArrayLike, correct: ArrayLike, total: ArrayLike, *, form: Form = "loglinear"
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Thresholds, slopes and intercepts of many psychometric functions at once.

    `correct (..., offsets)` of `total`, which broadcasts; an offset without trials does not count.
    """
    right, number = np.broadcast_arrays(np.asarray(correct, float), np.asarray(total, float))
    x = np.log(np.asarray(offsets, float))
    seen = number > 0
    if form == "loglinear":
        y, weight = right / np.where(seen, number, 1), seen.astype(float)
        level = THRESHOLD_ACCURACY
    else:
        y, weight = _straightened(right, number)
        weight = np.where(seen, weight, 0)
        level = float(np.log(-np.log(2 * (1 - THRESHOLD_ACCURACY))))
    slope, intercept = _line(x, y, weight)
    rises = slope > 0
    with np.errstate(over="ignore"):
        found = np.exp((level - intercept) / np.where(rises, slope, 1))
    return np.where(rises & (found <= LARGEST), found, np.inf), slope, intercept


def _straightened(right: np.ndarray, number: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """`ln(-ln(2 (1 - p)))`, in which a Weibull function is a line, and its inverse variance."""
    # Kept half a trial away from chance and from certainty, where it is infinite.
    room = 0.5 / np.maximum(number, 1)
    p = np.clip(right / np.maximum(number, 1), np.minimum(0.5 + room, 0.75), 1 - room / 2)
    minus_log = -np.log(2 * (1 - p))
    weight = number * (1 - p) * minus_log**2 / p
    return np.log(minus_log), weight


def _line(x: np.ndarray, y: np.ndarray, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weighted least squares along the last axis; slope 0 where it is undetermined."""
    mass = np.maximum(weight.sum(-1), np.finfo(float).tiny)
    middle, level = (weight * x).sum(-1) / mass, (weight * y).sum(-1) / mass
    apart = x - middle[..., None]
    spread = (weight * apart**2).sum(-1)
    determined = spread > 1e-12 * mass
    slope = (weight * apart * y).sum(-1) / np.where(determined, spread, 1)
    slope = np.where(determined, slope, 0)
    return slope, level - slope * middle
