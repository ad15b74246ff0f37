"""The one training loop: choose samples, place, step, log, checkpoint, stop; and `collect`.

It knows only `LearningRule.step`, so that NumPy, torch and JAX rules share it.

    fitted = fit(model, rule, source, steps=500, batch_size=32)
    fitted.model, fitted.history[-1]["loss"]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, closing, nullcontext
from dataclasses import dataclass, field
from functools import lru_cache
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
from bioviz_core.lab.run import Run, finite

M = TypeVar("M", bound=Model)
S = TypeVar("S")
Memo = dict[str, Any]
Source = StimulusSource | Callable[[Memo], StimulusSource]


class Host(Protocol):
    """Where a framework computes: `bridge.torch.Host`, `bridge.jax.Host`, `NumpyHost`.

    The bodies are those of NumPy, where there is nothing to place, compile or seed.
    """

    rank: int = 0
    world: int = 1

    def place(self, batch: Batch) -> Batch:
        """The batch as the framework's arrays, on its device."""
        return batch

    def compile(self, step: Callable[..., Step[Any, Any]]) -> Callable[..., Step[Any, Any]]:
        """A step that may be faster and gives the same."""
        return step

    def adopt(self, model: Any, state: Tree) -> None:
        """Move the model to the device and keep its replicas equal; may be called again."""
        del model, state

    def step(self, seed: int) -> AbstractContextManager[None]:
        """Around one step: seeds the framework's own generator."""
        return nullcontext()


class NumpyHost(Host):
    """The host of NumPy models."""


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
    model: M, rule: LearningRule[M, S], source: Source, *, steps: int, batch_size: int,
    run: Run | None = None, phase: str = "fit", after: Callable[[Progress[M]], None] | None = None,
    checkpoint_every: int = 0, log_every: int = 1, seed: int | None = None,
) -> Fitted[M, S]:  # fmt: skip
    """Let `rule` change `model` on batches of `source`, and resume where a run was stopped.

    A phase ends with a checkpoint after `steps` steps, or when `after` sets `done`. `source` may be
    a function of the memo, for stimuli that depend on the answers so far. The order of stimuli and
    the noise of steps come from `seed`: arms to be paired are given the same one. A batch is drawn
    from one epoch; samples left over at its end are not seen in it. Without a run nothing is
    written. Raises `IncompatibleError` before any work, `DivergedError` before a checkpoint that is
    not finite, and `StoppedError` after the checkpoint when the run was asked to stop.
    """
    if min(batch_size, log_every, steps + 1, checkpoint_every + 1) < 1:
        counts = f"{batch_size=} {log_every=} {steps=} {checkpoint_every=}"
        raise ValueError(f"the first two must be at least 1, the others at least 0: got {counts}")
    if seed is None:
        seed = seeding.seed_for(run.seed if run else 0, "fit", phase)
    if run is not None:
        run.begin(phase)
    now, saved = Progress(0, model, {}, {}), -1
    history: list[dict[str, Any]] = []

    def stimuli() -> StimulusSource:
        return source if isinstance(source, StimulusSource) else source(now.memo)

    def batch() -> Batch:
        """The batch of this step: a pure function of seed, step and memo."""
        given = stimuli()
        if not len(given):
            raise ValueError(f"{type(given).__name__} is empty: there is nothing to learn from")
        epoch, place = divmod(now.step, max(1, len(given) // batch_size))
        indices = _order(seed, epoch, len(given))[place * batch_size : (place + 1) * batch_size]
        if rule.sharded:
            indices = indices[host.rank :: host.world]
        return host.place(given.batch(indices.tolist(), epoch=epoch))

    def save() -> int:
        finite(now.step, now.metrics)
        if path := not_a_number(now.model.state_tree()):
            raise DivergedError(now.step, f"model{path}")
        if run is not None:
            tree = {"model": now.model, "rule": state, "memo": now.memo, "done": now.done}
            run.checkpoint(now.step, tree, phase=phase)
        return now.step

    if refused := refusals(rule, model, stimuli()):
        raise IncompatibleError(refused)
    host = _host(model.framework, run)
    host.adopt(model, None)
    state = rule.init(model, batch(), seed=seeding.seed_for(seed, "init"))
    like = {"model": model, "rule": state, "memo": ANY, "done": ANY}
    if run is not None and (found := run.restore(like, phase=phase)):
        saved, tree = found
        state = tree["rule"]
        now = Progress(saved, tree["model"], {}, tree["memo"], tree["done"])
    host.adopt(now.model, state)
    step = host.compile(rule.step)
    rank = [host.rank] * (rule.sharded and host.rank > 0)
    bar = run.bar(phase, steps, now.step) if run and now.step < steps else None
    shown: tuple[Any, ...] = ()
    with closing(bar) if bar else nullcontext():
        while now.step < steps and not now.done:
            step_seed, drawn = seeding.seed_for(seed, "step", now.step, *rank), batch()
            with host.step(step_seed):
                now.model, state, now.metrics = step(now.model, drawn, state, seed=step_seed)
            now.step += 1
            if now.step % log_every == 0 or now.step == steps:
                row = finite(now.step, now.metrics)
                shown = next(iter(row.items()), ())
                history.append({"step": now.step, **row})
                if run is not None:
                    run.log(now.step, phase=phase, **row)
            if bar is not None:
                bar.step(now.step, *shown)
            if after is not None:
                after(now)
            stop = run is not None and run.should_stop
            if stop or (checkpoint_every and now.step % checkpoint_every == 0):
                saved = save()
            if stop:
                raise StoppedError(f"stopped in {phase}, after step {now.step} of {steps}")
    if saved != now.step:
        save()
    if run is not None:
        history = run.metrics(phase)
        for row in history:
            del row["phase"]
    return Fitted(now.model, state, now.memo, now.step, history)


@lru_cache(maxsize=4)
def _order(seed: int, epoch: int, length: int) -> np.ndarray:
    """The samples of an epoch, in the order in which they are seen."""
    return seeding.rng(seed, "order", epoch).permutation(length)


def collect(
    model: Model, source: StimulusSource, indices: Sequence[int] | None = None, *,
    layers: Sequence[str] | None = None, batch_size: int = 256,
) -> dict[str, np.ndarray]:  # fmt: skip
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


def _host(framework: str, run: Run | None, **settings: Any) -> Host:
    if framework == "numpy":
        return NumpyHost()
    if run is not None:
        settings = {"device": run.device, "precision": run.precision, "threads": run.threads}
    host: Host = import_module(f"bioviz_core.bridge.{framework}").Host(**settings)
    return host


def host_like(model: Model) -> Host:
    """A host where the model is already, and in its precision."""
    leaf = next(arrays_of(model.state_tree()), None)
    if model.framework == "numpy" or leaf is None:
        return _host(model.framework, None)
    device = str(leaf.device)
    if model.framework == "jax":
        # A device, or where there are several how the array lies on them.
        is_one = hasattr(leaf.device, "platform")
        device = f"{leaf.device.platform}:{leaf.device.id}" if is_one else "auto"
    precision = "float64" if "float64" in str(leaf.dtype) else "float32"
    return _host(model.framework, None, device=device, precision=precision)
