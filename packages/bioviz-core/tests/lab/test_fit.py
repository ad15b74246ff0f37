from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from bioviz_core.errors import DivergedError, IncompatibleError, StoppedError
from bioviz_core.interfaces import Batch, Field, Objective, Step
from bioviz_core.lab import rundir
from bioviz_core.lab.atomic import read_lines
from bioviz_core.lab.checkpoint import ANY
from bioviz_core.lab.fit import Fitted, Progress, collect, fit
from bioviz_core.lab.run import Run
from bioviz_core.lab.seeding import seed_for


class Linear:
    """`weights (2, features)`; a plain NumPy model."""

    framework = "numpy"

    def __init__(self, features: int = 4) -> None:
        self.weights = np.ones((2, features))

    def __call__(self, inputs: Any) -> Any:
        return inputs @ self.weights.T

    def activations(self, inputs: Any) -> dict[str, Any]:
        return {"half": inputs / 2, "out": self(inputs)[:, :, None]}

    def state_tree(self) -> Any:
        return {"weights": self.weights.copy()}

    def with_state(self, state: Any) -> Linear:
        self.weights = state["weights"]
        return self


class Oja:
    """Oja's rule with noise and a trace, so that seed and state both matter."""

    framework = None
    needs: ClassVar[tuple[type, ...]] = ()
    reads = ("inputs",)
    sharded = False

    def __init__(self, rate: float = 0.01) -> None:
        self.rate = rate

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Any:
        return {"trace": np.zeros(batch["inputs"].shape[1]), "seed": seed}

    def step(self, model: Any, batch: Batch, state: Any, /, *, seed: int) -> Step[Any, Any]:
        pre = batch["inputs"] + np.random.default_rng(seed).normal(size=batch["inputs"].shape)
        post = pre @ model.weights.T
        change = post.T @ pre / len(pre) - (post**2).mean(0)[:, None] * model.weights
        model.weights = model.weights + self.rate * change
        trace = 0.9 * state["trace"] + pre.mean(0)
        return Step(model, {**state, "trace": trace}, {"norm": np.linalg.norm(model.weights)})


class Numbers:
    """`samples` rows, each a function of its index, plus `offset`."""

    fields: Mapping[str, Field] = {"inputs": Field((4,), "float64")}

    def __init__(self, samples: int = 10, offset: float = 0.0) -> None:
        self.samples, self.offset = samples, offset
        self.asked: list[tuple[int, tuple[int, ...]]] = []

    def __len__(self) -> int:
        return self.samples

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        self.asked.append((epoch, tuple(indices)))
        rows = [np.random.default_rng(i).normal(size=4) + self.offset for i in indices]
        return {"inputs": np.array(rows)}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return rundir.create(tmp_path, "toy/thing", {}, config={})


@pytest.fixture
def run(path: Path) -> Iterator[Run]:
    with Run(path, seed=0) as run:
        yield run


def content(path: Path) -> dict[str, bytes]:
    """All files; of the metrics, all but the clock."""
    found = {
        str(file.relative_to(path)): file.read_bytes()
        for file in path.rglob("*")
        if file.is_file() and file.name not in ("run.json", "log.txt", ".lock")
    }
    rows = [{k: v for k, v in r.items() if k != "time"} for r in read_lines(path / "metrics.jsonl")]
    return {**found, "metrics.jsonl": repr(rows).encode()}


def stopping_at(step: int, run: Run) -> Any:
    def after(progress: Progress[Any]) -> None:
        run.should_stop = progress.step == step

    return after


def test_without_a_run_nothing_is_needed() -> None:
    fitted = fit(Linear(), Oja(), Numbers(), steps=7, batch_size=3)
    assert fitted.steps == 7
    assert [row["step"] for row in fitted.history] == list(range(1, 8))
    assert set(fitted.history[0]) == {"step", "norm"}


def test_rates_come_out_as_by_hand() -> None:
    model, rule, source = Linear(), Oja(), Numbers(6)
    fit(model, rule, source, steps=4, batch_size=3, seed=5)
    again, state = Linear(), rule.init(Linear(), source.batch([0]), seed=0)
    for step, (_, indices) in enumerate(source.asked[1:5]):
        batch, seed = source.batch(indices), seed_for(5, "step", step)
        again, state, _ = rule.step(again, batch, state, seed=seed)
    np.testing.assert_array_equal(model.weights, again.weights)


def test_every_epoch_shows_each_sample_at_most_once_in_a_new_order() -> None:
    source = Numbers(10)
    fit(Linear(), Oja(), source, steps=9, batch_size=3)
    epochs = [
        [i for e, batch in source.asked[1:] if e == epoch for i in batch] for epoch in (0, 1, 2)
    ]
    assert all(len(epoch) == len(set(epoch)) == 9 for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_batch_larger_than_the_source_is_the_source() -> None:
    source = Numbers(4)
    fit(Linear(), Oja(), source, steps=2, batch_size=9)
    assert [(e, sorted(b)) for e, b in source.asked[1:]] == [(0, [0, 1, 2, 3]), (1, [0, 1, 2, 3])]


def test_arms_with_one_seed_see_the_same_stimuli(run: Run) -> None:
    sources = [Numbers() for _ in range(3)]
    for source, seed, phase in zip(sources, (7, 7, None), "abc", strict=True):
        fit(Linear(), Oja(), source, steps=5, batch_size=3, run=run, phase=phase, seed=seed)
    assert sources[0].asked == sources[1].asked != sources[2].asked


@pytest.mark.parametrize("stop", [1, 4, 5, 11, 12])
@pytest.mark.parametrize(("every", "log_every"), [(0, 1), (5, 1), (4, 5)])
def test_a_stopped_and_resumed_fit_ends_in_the_same_bytes(
    tmp_path: Path, stop: int, every: int, log_every: int
) -> None:
    def go(run: Run, after: Any = None) -> Fitted[Any, Any]:
        arguments: Any = {"batch_size": 3, "run": run, "log_every": log_every}
        fit(Linear(), Oja(), Numbers(), steps=3, phase="first", **arguments)
        run.log(0, phase="between", score=1.0)
        return fit(Linear(), Oja(), Numbers(), steps=12, checkpoint_every=every, phase="second",
                   after=after, **arguments)  # fmt: skip

    straight, stopped = (rundir.create(tmp_path, "toy/thing", {}) for _ in range(2))
    with Run(straight, seed=0) as run:
        wanted = go(run)
    with Run(stopped, seed=0) as run, pytest.raises(StoppedError, match=f"after step {stop} of 12"):
        go(run, stopping_at(stop, run))
    with Run(stopped, seed=0) as run:
        found = go(run)
    np.testing.assert_array_equal(found.model.weights, wanted.model.weights)
    assert found.history == wanted.history
    assert content(stopped) == content(straight)


def test_a_finished_phase_returns_at_once_when_resumed(path: Path) -> None:
    for expected in (6, 1):  # five steps and the batch of init; then the batch of init alone
        source = Numbers()
        with Run(path, seed=0) as run:
            fitted = fit(Linear(), Oja(), source, steps=5, batch_size=2, run=run)
        assert len(source.asked) == expected
        assert len(fitted.history) == 5


def test_a_staircase_in_the_memo_is_resumed(tmp_path: Path) -> None:
    def source(memo: dict[str, Any]) -> Numbers:
        return Numbers(offset=memo.get("offset", 4.0))

    def staircase(run: Run, stop: int, progress: Progress[Any]) -> None:
        easy = progress.metrics["norm"] < 3
        progress.memo["offset"] = progress.memo.get("offset", 4.0) * (0.9 if easy else 1.1)
        progress.memo["answers"] = (*progress.memo.get("answers", ()), bool(easy))
        progress.done = progress.memo["offset"] < 2.0
        run.log(progress.step, phase="staircase", offset=progress.memo["offset"])
        run.should_stop = progress.step == stop

    ends = []
    for stops in ((0,), (2, 0), (1, 3, 0)):
        path = rundir.create(tmp_path, "toy/thing", {})
        for stop in stops:
            with Run(path, seed=1) as run:
                try:
                    fitted = fit(Linear(), Oja(), source, steps=50, batch_size=4, run=run,
                                 after=partial(staircase, run, stop))  # fmt: skip
                except StoppedError:
                    assert stop
        ends.append((fitted.steps, fitted.memo, content(path)))
    assert 3 < ends[0][0] < 50
    assert ends[0] == ends[1] == ends[2]


def test_everything_that_does_not_fit_is_said_before_any_work(run: Run) -> None:
    class Picky(Oja):
        framework = "torch"
        reads = ("inputs", "labels")

    source = Numbers()
    with pytest.raises(IncompatibleError) as caught:
        fit(Linear(), Picky(), source, steps=1, batch_size=1, run=run)
    assert [refusal.kind for refusal in caught.value.refusals] == ["framework", "data"]
    assert source.asked == []
    assert not (run.path / "checkpoints").exists()


def test_a_divergence_keeps_the_last_good_checkpoint(run: Run) -> None:
    with (
        np.errstate(all="ignore"),
        pytest.raises(DivergedError, match=r"norm is (inf|nan)"),
    ):
        fit(Linear(), Oja(rate=1e3), Numbers(), steps=99, batch_size=3, run=run,
            checkpoint_every=1, log_every=10)  # fmt: skip
    like = {"model": Linear(), "rule": ANY, "memo": ANY, "done": ANY}
    step, tree = run.restore(like) or (0, None)
    assert step > 0
    assert np.isfinite(tree["model"].weights).all()
    assert [row["step"] for row in run.metrics()] == []


def test_weights_that_are_not_numbers_are_never_saved(run: Run) -> None:
    class Hidden(Oja):
        def step(self, model: Any, batch: Batch, state: Any, /, *, seed: int) -> Step[Any, Any]:
            model.weights = model.weights * np.nan
            return Step(model, state, {"norm": 1.0})

    with pytest.raises(DivergedError, match=r"model\.weights is nan at step 1"):
        fit(Linear(), Hidden(), Numbers(), steps=1, batch_size=3, run=run)
    assert run.restore() is None


@pytest.mark.parametrize("wrong", [{"batch_size": 0}, {"steps": -1}, {"log_every": 0}])
def test_counts_must_make_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="must be at least 1"):
        fit(Linear(), Oja(), Numbers(), **{"steps": 1, "batch_size": 1, **wrong})


def test_an_empty_source_is_refused() -> None:
    with pytest.raises(ValueError, match="Numbers is empty"):
        fit(Linear(), Oja(), Numbers(0), steps=1, batch_size=1)


def test_no_steps_leave_a_checkpoint(run: Run) -> None:
    assert fit(Linear(), Oja(), Numbers(), steps=0, batch_size=1, run=run).history == []
    names = [file.name for file in run.path.glob("checkpoints/fit/*")]
    assert names == ["step-00000000.safetensors"]


def test_responses_are_collected_by_layer() -> None:
    source = Numbers(7)
    found = collect(Linear(), source, batch_size=3)
    inputs = source.batch(range(7))["inputs"]
    assert list(found) == ["half", "out"]
    np.testing.assert_array_equal(found["half"], inputs / 2)
    np.testing.assert_allclose(found["out"], inputs @ np.ones((4, 2)), rtol=1e-12)
    assert list(collect(Linear(), source, [5, 1], layers=["out"])) == ["out"]
    with pytest.raises(KeyError, match="no layer is called 'x'; there are half, out"):
        collect(Linear(), source, layers=["x"])


# torch


def torch_fit(run: Run, steps: int, after: Any = None) -> Any:
    import torch
    from bioviz_core.bridge.torch import Backprop, as_model

    torch.manual_seed(1)
    net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Dropout(), torch.nn.Linear(8, 1))
    objective = Objective("power", lambda outputs, batch: outputs.square().mean())
    rule = Backprop(partial(torch.optim.Adam, lr=0.01))
    return fit(as_model(net, objective), rule, Numbers(), steps=steps, batch_size=3, run=run,
               after=after)  # fmt: skip


def test_a_torch_fit_with_dropout_resumes_to_the_bit(tmp_path: Path) -> None:
    import torch

    paths = [rundir.create(tmp_path, "toy/thing", {}) for _ in range(2)]
    with Run(paths[0], seed=0, device="cpu", threads=1) as run:
        wanted = torch_fit(run, 8)
    with Run(paths[1], seed=0, device="cpu", threads=1) as run, pytest.raises(StoppedError):
        torch_fit(run, 8, stopping_at(3, run))
    torch.rand(3)
    with Run(paths[1], seed=0, device="cpu", threads=1) as run:
        found = torch_fit(run, 8)
    assert found.history == wanted.history
    assert content(paths[1]) == content(paths[0])
    responses = collect(found.model, Numbers(5), layers=["2"])
    assert responses["2"].shape == (5, 1)
    assert responses["2"].dtype == np.float32
