"""The one training loop: choose samples, place, step, log, checkpoint, stop; and `collect`.

It knows only `LearningRule.step`, so that NumPy, torch and JAX rules share it.

    fitted = fit(model, rule, source, steps=500, batch_size=32)
    fitted.model, fitted.history[-1]["loss"]
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any, Generic, Protocol, TypeVar

import numpy as np

from bioviz_core.errors import DivergedError, IncompatibleError, StoppedError
from bioviz_core.interfaces import (
    Batch,
    LearningRule,
    Model,
    Scalar,
    Step,
    StimulusSource,
    Tree,
    refusals,
)
from bioviz_core.lab import seeding
from bioviz_core.lab.checkpoint import ANY, not_a_number
from bioviz_core.lab.leaves import arrays_of, to_numpy
from bioviz_core.lab.run import Run, number

M = TypeVar("M", bound=Model)
S = TypeVar("S")
Memo = dict[str, Any]
Source = StimulusSource | Callable[[Memo], StimulusSource]


class Host(Protocol):
    """Where a framework computes: `bridge.torch.Host`, `bridge.jax.Host`, `NumpyHost`."""

    rank: int
    world: int

    def place(self, batch: Batch) -> Batch:
        """The batch as the framework's arrays, on its device."""

    def compile(self, step: Callable[..., Step[Any, Any]]) -> Callable[..., Step[Any, Any]]:
        """A step that may be faster and gives the same."""

    def adopt(self, model: Any, state: Tree) -> None:
        """Move the model to the device and keep its replicas equal; may be called again."""

    def step(self, seed: int) -> AbstractContextManager[None]:
        """Around one step: seeds the framework's own generator."""


class NumpyHost:
    """The host of NumPy models: nothing to place."""

    rank, world = 0, 1

    def __init__(
        self, *, device: str = "auto", precision: str = "float32", threads: int | None = None
    ) -> None:
        del device, precision, threads

    def place(self, batch: Batch) -> Batch:
        """The batch."""
        return batch

    def compile(self, step: Callable[..., Step[Any, Any]]) -> Callable[..., Step[Any, Any]]:
        """The step."""
        return step

    def adopt(self, model: Any, state: Tree) -> None:
        """Nothing to do."""

    def step(self, seed: int) -> AbstractContextManager[None]:
        """Nothing to do: NumPy rules make their generator from the seed."""
        return nullcontext()


@dataclass
class Progress(Generic[M]):
    """What `after` sees of a step. It may set `done`, and keep JSON in `memo`: both are resumed."""

    step: int
    model: M
    metrics: Mapping[str, Scalar]
    memo: Memo
    done: bool = False


@dataclass(frozen=True)
class Fitted(Generic[M, S]):
    """What a phase left: `history` has one dict per logged step, with `step` and the metrics."""

    model: M
    state: S
    memo: Memo
    steps: int
    history: list[dict[str, Any]] = field(repr=False)


def fit(
    model: M,
    rule: LearningRule[M, S],
    source: Source,
    *,
    steps: int,
    batch_size: int,
    run: Run | None = None,
    phase: str = "fit",
    after: Callable[[Progress[M]], None] | None = None,
    checkpoint_every: int = 0,
    log_every: int = 1,
    seed: int | None = None,
) -> Fitted[M, S]:
    """Let `rule` change `model` on batches of `source`, and resume where a run was stopped.

    A phase ends with a checkpoint after `steps` steps, or when `after` sets `done`. `source` may be
    a function of the memo, for stimuli that depend on the answers so far. The order of stimuli and
    the noise of steps come from `seed`: arms to be paired are given the same one. A batch is drawn
    from one epoch; samples left over at its end are not seen in it. Without a run nothing is
    written. Raises `IncompatibleError` before any work, `DivergedError` before a checkpoint that is
    not finite, and `StoppedError` after the checkpoint when the run was asked to stop.
    """
    if batch_size < 1 or steps < 0 or log_every < 1 or checkpoint_every < 0:
        raise ValueError(
            "batch_size and log_every must be at least 1, steps and checkpoint_every at least 0: "
            f"got {batch_size}, {log_every}, {steps} and {checkpoint_every}"
        )
    if seed is None:
        seed = seeding.seed_for(run.seed if run else 0, "fit", phase)
    if run is not None:
        run.begin(phase)
    loop = _Loop(model, rule, source, batch_size, run, phase, seed)
    loop.start()
    bar = run.bar(phase, steps, loop.count) if run and loop.count < steps else None
    try:
        while loop.count < steps and not loop.done:
            loop.advance()
            last = loop.count == steps
            if loop.count % log_every == 0 or last:
                loop.log()
            if bar is not None:
                bar.step(loop.count, *loop.shown)
            if after is not None:
                loop.call(after)
            stop = run is not None and run.should_stop
            due = bool(checkpoint_every) and loop.count % checkpoint_every == 0
            if due or stop or loop.done or last:
                loop.save()
            if stop:
                raise StoppedError(f"stopped in {phase}, after step {loop.count} of {steps}")
        loop.save()
    finally:
        if bar is not None:
            bar.close()
    history = _rows(run, phase) if run is not None and run.writes else loop.history
    return Fitted(loop.model, loop.state, loop.memo, loop.count, history)


@dataclass
class _Loop:
    """The state of one phase, and what is done with it at each step."""

    model: Any
    rule: LearningRule[Any, Any]
    given: Source
    batch_size: int
    run: Run | None
    phase: str
    seed: int
    state: Any = None
    memo: Memo = field(default_factory=dict)
    done: bool = False
    count: int = 0
    saved: int = -1
    metrics: Mapping[str, Scalar] = field(default_factory=dict)
    shown: tuple[str, float] | tuple[()] = ()
    history: list[dict[str, Any]] = field(default_factory=list)
    order: tuple[tuple[int, int], np.ndarray] = ((-1, -1), np.empty(0, int))

    @cached_property
    def host(self) -> Host:
        return _host(self.model.framework, self.run)

    @property
    def source(self) -> StimulusSource:
        return self.given if isinstance(self.given, StimulusSource) else self.given(self.memo)

    def start(self) -> None:
        """Check, initialise, and restore."""
        if refused := refusals(self.rule, self.model, self.source):
            raise IncompatibleError(refused)
        self.host.adopt(self.model, None)
        seed = seeding.seed_for(self.seed, "init")
        self.state = self.rule.init(self.model, self.batch(), seed=seed)
        if self.run is not None:
            like = {"model": self.model, "rule": self.state, "memo": ANY, "done": ANY}
            if found := self.run.restore(like, phase=self.phase):
                self.count, tree = found
                self.saved = self.count
                self.model, self.state = tree["model"], tree["rule"]
                self.memo, self.done = tree["memo"], tree["done"]
                self.history = _rows(self.run, self.phase)
        self.host.adopt(self.model, self.state)
        self.step = self.host.compile(self.rule.step)

    def advance(self) -> None:
        """One step of the rule."""
        names: list[seeding.Name] = ["step", self.count]
        if self.rule.sharded and self.host.rank:
            names.append(self.host.rank)
        seed, batch = seeding.seed_for(self.seed, *names), self.batch()
        with self.host.step(seed):
            self.model, self.state, self.metrics = self.step(
                self.model, batch, self.state, seed=seed
            )
        self.count += 1

    def batch(self) -> Batch:
        """The batch of this step, placed: a pure function of seed, step and memo."""
        source = self.source
        size, length = self.batch_size, len(source)
        if not length:
            raise ValueError(f"{type(source).__name__} is empty: there is nothing to learn from")
        epoch, place = divmod(self.count, max(1, length // size))
        if self.order[0] != (epoch, length):
            shuffled = seeding.rng(self.seed, "order", epoch).permutation(length)
            self.order = (epoch, length), shuffled
        indices = self.order[1][place * size : (place + 1) * size]
        if self.rule.sharded:
            indices = indices[self.host.rank :: self.host.world]
        return self.host.place(source.batch(indices.tolist(), epoch=epoch))

    def log(self) -> None:
        """Write the metrics of this step; they leave the device here."""
        row = self.finite()
        if self.run is not None:
            self.run.log(self.count, phase=self.phase, **row)
        self.history.append({"step": self.count, **row})
        self.shown = next(iter(row.items()), ())

    def finite(self) -> dict[str, float]:
        """The metrics as floats; `DivergedError` where one is none."""
        row = {name: number(name, value) for name, value in self.metrics.items()}
        for name, value in row.items():
            if not math.isfinite(value):
                raise DivergedError(self.count, name, value)
        return row

    def call(self, after: Callable[[Progress[Any]], None]) -> None:
        """Show the step to `after`."""
        progress = Progress(self.count, self.model, self.metrics, self.memo)
        after(progress)
        self.done = progress.done

    def save(self) -> None:
        """Write a checkpoint, unless it is there or the model is not finite."""
        if self.saved == self.count:
            return
        self.finite()
        if path := not_a_number(self.model.state_tree()):
            raise DivergedError(self.count, f"model{path}")
        if self.run is not None:
            tree = {"model": self.model, "rule": self.state, "memo": self.memo, "done": self.done}
            self.run.checkpoint(self.count, tree, phase=self.phase)
        self.saved = self.count


def collect(
    model: Model,
    source: StimulusSource,
    indices: Sequence[int] | None = None,
    *,
    layers: Sequence[str] | None = None,
    batch_size: int = 256,
) -> dict[str, np.ndarray]:
    """A model's responses by layer as NumPy arrays `(samples, features)`, for analyses.

    `indices` are the samples, all of them where None; `layers` those wanted, in that order.
    """
    indices = range(len(source)) if indices is None else indices
    host = host_like(model)
    found: dict[str, list[np.ndarray]] = {}
    for start in range(0, len(indices), batch_size):
        batch = host.place(source.batch(list(indices[start : start + batch_size])))
        responses = model.activations(batch["inputs"])
        for name in responses if layers is None else layers:
            if name not in responses:
                raise KeyError(f"no layer is called {name!r}; there are {', '.join(responses)}")
            array = to_numpy(responses[name])
            # A copy: a response may be a view of memory that the next batch fills.
            found.setdefault(name, []).append(array.reshape(len(array), -1).copy())
    return {name: np.concatenate(parts) for name, parts in found.items()}


def _rows(run: Run, phase: str) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in row.items() if name != "phase"}
        for row in run.metrics(phase)
    ]


def _host(framework: str, run: Run | None) -> Host:
    if framework == "numpy":
        return NumpyHost()
    make: Any = import_module(f"bioviz_core.bridge.{framework}").Host
    if run is None:
        return make()  # type: ignore[no-any-return]  # by the bridge's contract
    return make(device=run.device, precision=run.precision, threads=run.threads)  # type: ignore[no-any-return]


def host_like(model: Model) -> Host:
    """A host where the model is already, and in its precision."""
    leaf = next(iter(arrays_of(model.state_tree())), None)
    if model.framework == "numpy" or leaf is None:
        return _host(model.framework, None)
    device = str(getattr(leaf.device, "platform", leaf.device))
    precision = "float64" if "float64" in str(leaf.dtype) else "float32"
    make: Any = import_module(f"bioviz_core.bridge.{model.framework}").Host
    return make(device=device, precision=precision)  # type: ignore[no-any-return]
