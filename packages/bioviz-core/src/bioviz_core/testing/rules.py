"""Checks of local rules, and of learning rules on a model that has what they need."""

from __future__ import annotations

from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from bioviz_core.bridge.local import Local
from bioviz_core.errors import DivergedError, IncompatibleError, StoppedError
from bioviz_core.interfaces import Model, Step, members, refusals
from bioviz_core.lab import rundir
from bioviz_core.lab.fit import fit, host_like
from bioviz_core.lab.leaves import to_numpy
from bioviz_core.lab.run import Run
from bioviz_core.testing.tasks import Case, Task

# Local rules: 7 samples, 5 cells before the synapse, 3 behind it


def _synapse(scale: float = 1.0) -> list[np.ndarray]:
    """`pre, post, weight, teach` in float32, drawn anew so that nothing is shared."""
    rng = np.random.default_rng(0)
    shapes = {(7, 5): scale, (7, 3): scale, (3, 5): 1.0, (7, 3, 1): scale}
    drawn = [(rng.normal(size=shape) * s).astype("float32") for shape, s in shapes.items()]
    return [*drawn[:3], drawn[3][:, :, 0]]


def _delta(rule: Any, *synapse: Any) -> np.ndarray:
    return to_numpy(rule.delta(*(synapse or _synapse())))


def _close(one: np.ndarray, other: np.ndarray) -> bool:
    """Equal within the rounding of float32 sums."""
    return np.allclose(one, other, rtol=1e-4, atol=1e-5)


def check_local_rule_shape(thing: Any) -> None:
    """The change of `weight (out, in)` has its shape, or adding it broadcasts into nonsense.

    Fix: `post.T @ pre` is `(out, in)`; `pre.T @ post` is its transpose.
    """
    shape = _delta(thing).shape
    assert shape == (3, 5), f"delta is {shape} where the weight is (3, 5)"


def check_local_rule_dtype(thing: Any) -> None:
    """float32 stays float32: a wider delta makes JAX compile again and costs memory.

    Fix: use Python numbers, which take the array's dtype, not NumPy scalars.
    """
    dtype = _delta(thing).dtype
    assert dtype == np.float32, f"float32 activity gave a delta in {dtype}"


def check_local_rule_finite(thing: Any) -> None:
    """Silence and strong activity give finite changes: one NaN destroys a weight for good.

    Fix: add a small number to what is divided by; take logarithms of what is positive.
    """
    for scale in (0.0, 1.0, 1e3):
        finite = np.isfinite(_delta(thing, *_synapse(scale))).all()
        assert finite, f"delta is not finite for activity of {scale:g}"


def check_local_rule_permutation(thing: Any) -> None:
    """The order of samples in a batch means nothing, so it may change nothing.

    Fix: sum or average over the first axis; do not single out samples.
    """
    pre, post, weight, teach = _synapse()
    turned = _delta(thing, pre[::-1].copy(), post[::-1].copy(), weight, teach[::-1].copy())
    assert _close(_delta(thing), turned), "the order of samples changes delta"


def check_local_rule_batch_mean(thing: Any) -> None:
    """A change is the mean over the batch: else the rate depends on the batch size.

    Fix: divide by `len(pre)`.
    """
    pre, post, weight, teach = _synapse()
    twice = [np.concatenate([part, part]) for part in (pre, post, teach)]
    again = _delta(thing, twice[0], twice[1], weight, twice[2])
    assert _close(_delta(thing), again), "a batch shown twice changes delta"


def check_local_rule_inputs_unmodified(thing: Any) -> None:
    """What the rule is given belongs to the model, which may use it again.

    Fix: write `x = x - y`, not `x -= y`.
    """
    _delta(thing, *(given := _synapse()))
    assert all(map(np.array_equal, given, _synapse())), "delta changes the arrays it is given"


def check_local_rule_frameworks(thing: Any) -> None:
    """One file trains NumPy, torch and JAX models alike; those installed are compared.

    Fix: use operators and methods that all have (`@`, `.T`, `.mean()`), or
    `array_api_compat.array_namespace(pre)`.
    """
    wanted = _delta(thing)
    for framework in filter(find_spec, ("torch", "jax")):
        home = import_module("jax.numpy" if framework == "jax" else framework)
        found = _delta(thing, *map(home.asarray, _synapse()))
        assert _close(wanted, found), f"{framework} and NumPy disagree"


def check_local_rule_silence(thing: Any, tags: tuple[str, ...]) -> None:
    """A Hebbian rule (tag `hebbian`) needs activity at both ends: silent synapses at most decay.

    Fix: multiply every growing term by `pre` and `post`; or drop the tag.
    """
    growth = _delta(thing, *_synapse(0.0)) * np.sign(_synapse()[2])
    assert "hebbian" not in tags or not (growth > 0).any(), "weights grow without activity"


# Learning rules


def _step(case: Case, keep: Any = lambda batch: batch) -> Any:
    """What the first step returns, on what `keep` keeps of a batch."""
    rule, model, batch = case.thing, case.model, keep(case.batch)
    step = host_like(model).compile(rule.step)
    return step(model, batch, rule.init(model, batch, seed=0), seed=0)


def _end(case: Case, stop: int = 0) -> bytes:
    """The checkpoint after five steps; stopped on the way, anew-made rule and model go on."""

    def after(progress: Any) -> None:
        run.should_stop = progress.step == stop

    with TemporaryDirectory() as folder:
        path = rundir.create(Path(folder), "checks", {}, config={})
        for _ in range(2 if stop else 1):
            with Run(path, seed=0) as run, suppress(StoppedError):
                fit(case.model, case.thing, case.trial.source, steps=5,
                    batch_size=case.trial.batch_size, run=run, after=after)  # fmt: skip
        return sorted(path.glob("checkpoints/*/*"))[-1].read_bytes()


@lru_cache(maxsize=2)
def _quiet_end(case: Case, number: int) -> bytes:
    """The end of a fit left alone, kept for the checks of one rule; each `number` is another."""
    del number
    return _end(case)


def check_rule_declaration(thing: Any) -> None:
    """What a rule needs and reads is declared, so that a misfit is refused before any work.

    Fix: `framework`, `needs` and `reads` (tuples; `reads` has "inputs") and `sharded` (a bool).
    """
    known = (None, "numpy", "torch", "jax")
    assert thing.framework in known, f"framework is {thing.framework!r}"
    types = [type(value) for value in (thing.needs, thing.reads, thing.sharded)]
    assert types == [tuple, tuple, bool], f"needs, reads and sharded are {types}"


def check_rule_step(case: Case) -> None:
    """Everybody who calls a rule reads `.model`, `.state` and `.metrics` of what it returns.

    Fix: `return Step(model, state, {...})`.
    """
    assert isinstance(_step(case), Step), "step does not return a Step"


def check_rule_metrics(case: Case) -> None:
    """Metrics are finite scalars off the graph: one that is attached keeps every step in memory.

    Fix: `loss.detach()`, `.mean()`; not `float(loss)`, which waits for the device.
    """
    for name, value in _step(case)[2].items():
        assert not getattr(value, "requires_grad", False), f"{name} is attached to the graph"
        finite = getattr(value, "shape", ()) == () and np.isfinite(to_numpy(value))
        assert finite, f"{name} is {value!r}"


def check_rule_same_seed(case: Case) -> None:
    """The same seed gives the same bytes: nobody can repeat a result otherwise.

    Fix: draw from a generator made of the `seed` that `init` and `step` are given.
    """
    assert _quiet_end(case, 0) == _quiet_end(case, 1), "two fits with one seed differ"


def check_rule_resume(case: Case) -> None:
    """Stopped after k steps and gone on with, a fit ends in the bytes of one left alone.

    Fix: keep in the state whatever the next step depends on, and nothing on the rule itself.
    """
    alone, again = (_quiet_end(case, number) for number in range(2))
    # Where two quiet fits differ already, `check_rule_same_seed` says so.
    assert alone != again or alone == _end(case, stop=2), "a resumed fit ends elsewhere"


def check_rule_refusals(thing: Any, model: Any, batch: Any) -> None:
    """A model that lacks what the rule needs is refused by `IncompatibleError`, nothing else.

    Fix: name the capability in `needs`; in `init` raise `IncompatibleError` for the rest.
    """
    parts = {name: getattr(model, name) for name in members(Model)}
    bare: Any = type("Bare", (), {**parts, "__call__": lambda _, inputs: model(inputs)})()
    refused = {refusal.need for refusal in refusals(thing, bare)}
    assert refused >= {need.__name__ for need in thing.needs}, f"only {refused} is refused"
    with suppress(IncompatibleError, DivergedError):
        try:
            refused or thing.step(bare, batch, thing.init(bare, batch, seed=0), seed=0)
        except (AttributeError, TypeError, KeyError) as error:
            raise AssertionError(f"a model with {[*parts]} alone ends in {error!r}") from error


def check_rule_reads(case: Case, thing: Any, model: Any) -> None:
    """A batch with what the rule and the objective say they read is enough.

    Fix: add the missing key to `reads`.
    """
    objective = getattr(model, "objective", None)
    keys = {*thing.reads, *(objective.reads if objective else ())}
    try:
        _step(case, lambda batch: {key: value for key, value in batch.items() if key in keys})
    except KeyError as error:
        raise AssertionError(f"the rule reads {error} without saying so") from error


def check_rule_learns(trial: Task, thing: Any, model: Any) -> None:
    """After the task's steps its measure is lower: a rule that runs and does not learn is wrong.

    Fix: look at the sign and the rate. A rule without an objective brings its own measure:
    `Task(model, source, measure=...)`; one that wraps a local rule is not asked.
    """
    if trial.measure or not isinstance(thing, Local):
        objective = any("objective" in members(need) for need in thing.needs)
        assert trial.measure or objective, "nothing says what it learns: give Task(measure=...)"
        before, size = trial.value(model), trial.batch_size
        fitted = fit(model, thing, trial.source, steps=trial.steps, batch_size=size, seed=0)
        after = trial.value(fitted.model)
        assert after < before, f"the measure went from {before:.4g} to {after:.4g}"


def check_rule_sharded(case: Case, thing: Any) -> None:
    """`sharded` promises that the mean update of two half batches is that of the whole batch.

    The torch host averages the gradients that optimizers step with. Fix: average over the batch
    and leave gradients in `.grad`; or `sharded = False`: each process sees the whole batch.
    """
    if thing.sharded and case.model.framework == "torch":
        whole, *halves = (
            [to_numpy(p.grad) for p in _step(case, part)[0].parameters() if p.grad is not None]
            for part in (lambda batch: batch, _half(0), _half(1))
        )
        assert whole, "there is no gradient that the host could average"
        for w, a, b in zip(whole, *halves, strict=True):
            size, off = np.abs(w).max(), np.abs(w - (a + b) / 2).max()
            assert off <= 1e-5 * size + 1e-7, f"two halves are off by {off:.2g} of {size:.2g}"


def _half(start: int) -> Any:
    return lambda batch: {key: value[start::2] for key, value in batch.items()}
