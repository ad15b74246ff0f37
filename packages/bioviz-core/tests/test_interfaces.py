from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import FrozenInstanceError
from typing import Any, Protocol, runtime_checkable

import numpy as np
import pytest
from bioviz_core.interfaces import (
    Analysis,
    Batch,
    Claim,
    Energetic,
    Experiment,
    Field,
    HasObjective,
    LearningRule,
    LocalRule,
    Model,
    Objective,
    Part,
    Refusal,
    Result,
    Step,
    StimulusSource,
    Synapse,
    Synaptic,
    members,
    missing,
    refusals,
)


class Linear:
    """y = x W^T, with a squared error: a model of every capability that two plugins need."""

    framework = "numpy"
    objective: Objective | None = Objective(
        "squared error", lambda y, batch: ((y - batch["targets"]) ** 2).mean(), ("targets",)
    )

    def __init__(self, weight: np.ndarray) -> None:
        self.weight = weight

    def __call__(self, inputs: np.ndarray, /) -> np.ndarray:
        return inputs @ self.weight.T

    def activations(self, inputs: np.ndarray, /) -> Mapping[str, np.ndarray]:
        return {"output": self(inputs)}

    def state_tree(self) -> dict[str, np.ndarray]:
        return {"weight": self.weight}

    def with_state(self, state: dict[str, np.ndarray], /) -> Linear:
        return Linear(state["weight"])

    def synapses(self, inputs: np.ndarray, /) -> Mapping[str, Synapse]:
        return {"weight": Synapse(inputs, self(inputs), self.weight)}

    def nudge(self, deltas: Mapping[str, np.ndarray], /) -> Linear:
        return Linear(self.weight + deltas["weight"])


class Delta:
    """The delta rule, through the model's objective."""

    framework: str | None = "numpy"
    needs: tuple[type, ...] = (HasObjective,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def init(self, model: Linear, batch: Batch, /, *, seed: int) -> dict[str, int]:
        return {"count": 0}

    def step(self, model: Linear, batch: Batch, state: Any, /, *, seed: int) -> Step[Any, Any]:
        error = batch["targets"] - model(batch["inputs"])
        change = {"weight": 0.5 * error.T @ batch["inputs"] / len(error)}
        return Step(model.nudge(change), {"count": state["count"] + 1}, {"loss": (error**2).mean()})


class Pairs:
    fields: Mapping[str, Field] = {
        "inputs": Field((2,), "float64"),
        "targets": Field((1,), "float64"),
    }

    def __len__(self) -> int:
        return 4

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        inputs = np.eye(2)[np.asarray(indices) % 2]
        return {"inputs": inputs, "targets": inputs @ np.array([[1.0], [-1.0]])}


class Oja:
    def delta(self, pre: Any, post: Any, weight: Any, teach: Any = None) -> Any:
        return post.T @ pre / len(pre) - (post**2).mean(0)[:, None] * weight


class Mean:
    needs = ("activations",)

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        return Result({"mean": float(data["activations"].mean())})


class Nothing:
    question = "Is nothing something?"
    claims = ()
    presets: Mapping[str, Mapping[str, object]] = {}

    def run(self, config: object, run: object, /) -> Mapping[str, float]:
        return {}


@pytest.mark.parametrize(
    ("thing", "interface"),
    [
        (Linear(np.ones((1, 2))), Model),
        (Linear(np.ones((1, 2))), HasObjective),
        (Linear(np.ones((1, 2))), Synaptic),
        (Delta(), LearningRule),
        (Oja(), LocalRule),
        (Pairs(), StimulusSource),
        (Mean(), Analysis),
        (Nothing(), Experiment),
    ],
)
def test_having_the_members_is_enough(thing: object, interface: type) -> None:
    assert isinstance(thing, interface)
    assert missing(thing, interface) == ()


def test_a_rule_a_model_and_a_source_meet_and_learn() -> None:
    model, rule, source = Linear(np.zeros((1, 2))), Delta(), Pairs()
    assert refusals(rule, model, source) == ()
    batch = source.batch(range(4))
    state = rule.init(model, batch, seed=0)
    for _ in range(50):
        model, state, metrics = rule.step(model, batch, state, seed=0)
    np.testing.assert_allclose(model.weight, [[1, -1]], atol=1e-5)
    assert state == {"count": 50}
    assert metrics["loss"] < 1e-9


def test_a_capability_asks_for_its_own_members_and_its_bases() -> None:
    own = ("framework", "__call__", "activations", "state_tree", "with_state")
    assert members(Model) == own
    assert members(Energetic) == (*own, "states", "energy")
    assert missing(Linear(np.ones((1, 1))), Energetic) == ("states", "energy")


def test_a_member_that_is_none_is_lacking() -> None:
    model = Linear(np.ones((1, 2)))
    model.objective = None
    assert missing(model, HasObjective) == ("objective",)
    (refusal,) = refusals(Delta(), model)
    assert (refusal.kind, refusal.need) == ("capability", "HasObjective")
    assert "Delta needs objective, which Linear does not have" in refusal.why


def test_a_foreign_capability_needs_no_word_from_core() -> None:
    @runtime_checkable
    class BackForward(Model, Protocol):
        def back_forward(self, signal: Any, /) -> Any: ...

    rule = Delta()
    rule.needs = (BackForward,)
    (refusal,) = refusals(rule, Linear(np.ones((1, 2))))
    assert (refusal.need, refusal.kind) == ("BackForward", "capability")


def test_every_refusal_comes_at_once() -> None:
    class Unlabelled(Pairs):
        fields: Mapping[str, Field] = {"inputs": Field((2,), "float64")}

    rule = Delta()
    rule.framework, rule.needs, rule.reads = "jax", (Energetic, HasObjective), ("inputs", "labels")
    found = refusals(rule, Linear(np.ones((1, 2))), Unlabelled())
    assert [(r.kind, r.need) for r in found] == [
        ("framework", "jax"),
        ("capability", "Energetic"),
        ("data", "labels"),
        ("data", "targets"),
    ]


def test_a_rule_without_a_framework_fits_every_model() -> None:
    rule = Delta()
    rule.framework = None
    assert refusals(rule, Linear(np.ones((1, 2)))) == ()


def test_a_refusal_reads_as_its_kind_and_why() -> None:
    assert str(Refusal("data", "labels", "no labels")) == "  data: no labels"


def test_a_claim_has_its_own_part_first() -> None:
    claim = Claim(
        "X-1", "It rises.", "Fig. 1", "gain", "up", 2.0, "%", also=(Part("loss", "<=", 1.0),)
    )
    assert claim.parts == (Part("gain", "up", 2.0, "%"), Part("loss", "<=", 1.0, ""))
    with pytest.raises(FrozenInstanceError):
        claim.bound = 0.0  # type: ignore[misc]


def test_a_result_draws_itself_on_a_new_or_a_given_axes() -> None:
    pytest.importorskip("matplotlib")
    result = Result({"peak": 1.0}, draw=lambda ax: ax.plot([0, 1], [0, 1]))
    ax = result.plot()
    assert len(ax.lines) == 1
    assert result.plot(ax) is ax
    assert len(ax.lines) == 2
    picture = result._repr_png_()
    assert picture is not None
    assert picture.startswith(b"\x89PNG")


def test_a_result_without_a_picture_says_so() -> None:
    result = Result({"peak": 1.0})
    assert result._repr_png_() is None
    with pytest.raises(ValueError, match="no picture"):
        result.plot()


def test_an_objective_that_the_rule_does_not_use_asks_nothing_of_the_source() -> None:
    class Unsupervised(Pairs):
        fields: Mapping[str, Field] = {"inputs": Field((2,), "float64")}

    rule = Delta()
    rule.needs, rule.reads = (Synaptic,), ("inputs",)
    assert refusals(rule, Linear(np.ones((1, 2))), Unsupervised()) == ()
    rule.needs = (HasObjective,)
    assert [r.need for r in refusals(rule, Linear(np.ones((1, 2))), Unsupervised())] == ["targets"]
