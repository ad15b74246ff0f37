"""For each check a deliberately wrong object, which fails exactly that check."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from bioviz_core import Claim, Config, hookimpl
from bioviz_core.bridge.torch import Backprop, TorchModel
from bioviz_core.errors import DataError
from bioviz_core.interfaces import Energetic, Field, HasObjective, Objective, Result, Step
from bioviz_core.lab.fit import fit
from bioviz_core.registry import isolated_registry
from bioviz_core.testing import CHECKS, Case, Task, plugins, reference_task
from bioviz_core.testing.tasks import Perceptron
from torch import nn


def failing(kind: str, case: Case) -> set[str]:
    """The checks that the case fails, without their common beginning."""
    found, notes = set(), []
    for name, check in CHECKS[kind].items():
        try:
            check(case)
        except Exception as error:
            found.add(name.removeprefix(f"check_{kind}_"))
            notes.append("".join(error.__notes__))
    assert all("Fix:" in note for note in notes), "the docstring comes with the failure"
    return found


def named(kind: str) -> set[str]:
    return {name.removeprefix(f"check_{kind}_") for name in CHECKS[kind]}


# Local rules


def hebb(change: Callable[..., Any]) -> Case:
    """Hebb's rule, changed."""

    class Rule:
        def delta(self, pre: Any, post: Any, weight: Any, teach: Any = None) -> Any:
            return change(post.T @ pre / len(pre), pre, post, weight)

    return Case("hebb", Rule, tags=("hebbian",))


def spoiling(delta: Any, pre: Any, post: Any, weight: Any) -> Any:
    post *= 0
    return delta


LOCAL_RULES = {
    "shape": lambda d, pre, post, w: d[:1],
    "dtype": lambda d, pre, post, w: d.astype("f8") if isinstance(d, np.ndarray) else d,
    "finite": lambda d, pre, post, w: d / (d * d).sum() * (d * d).sum(),
    "permutation": lambda d, pre, post, w: post[:1].T @ pre[:1],
    "batch_mean": lambda d, pre, post, w: d * len(pre),
    "inputs_unmodified": spoiling,
    "frameworks": lambda d, pre, post, w: d * 2 if hasattr(d, "detach") else d,
    "silence": lambda d, pre, post, w: d + 1,
}


def test_a_good_local_rule_passes() -> None:
    assert failing("local_rule", hebb(lambda d, *_: d)) == set()
    assert LOCAL_RULES.keys() == named("local_rule")


@pytest.mark.filterwarnings("ignore:invalid value encountered")
@pytest.mark.parametrize("check", LOCAL_RULES)
def test_each_local_mutant_fails_its_check(check: str) -> None:
    assert failing("local_rule", hebb(LOCAL_RULES[check])) == {check}


# Learning rules, all of them gradient descent in torch


class Good(Backprop):
    rate = 0.1

    def __init__(self) -> None:
        super().__init__(partial(torch.optim.SGD, lr=self.rate, momentum=0.5))


class WithoutStep(Good):
    def step(self, *given: Any, **options: Any) -> Any:
        return tuple(super().step(*given, **options))


class Attached(Good):
    def step(self, model: Any, batch: Any, state: Any, /, *, seed: int) -> Any:
        loss = model.objective.loss(model(batch["inputs"]), batch)
        return super().step(model, batch, state, seed=seed)._replace(metrics={"loss": loss})


class Unseeded(Good):
    def init(self, model: Any, batch: Any, /, *, seed: int) -> Any:
        state = super().init(model, batch, seed=seed)
        state.param_groups[0]["lr"] *= 1 + np.random.default_rng().random() / 10
        return state


class Remembering(Good):
    count = 0

    def step(self, model: Any, batch: Any, state: Any, /, *, seed: int) -> Any:
        self.count += 1
        state.param_groups[0]["lr"] = 0.1 / self.count
        return super().step(model, batch, state, seed=seed)


class Undeclared(Good):
    needs: tuple[type, ...] = ()


class Peeking(Good):
    def step(self, model: Any, batch: Any, state: Any, /, *, seed: int) -> Any:
        batch["index"].sum()
        return super().step(model, batch, state, seed=seed)


class Climbing(Good):
    def __init__(self) -> None:
        super().__init__()
        make = self.optimizer
        self.optimizer = lambda parameters: _uphill(make(parameters))


def _uphill(optimizer: Any) -> Any:
    optimizer.param_groups[0]["maximize"] = True
    return optimizer


class Summing(Good):
    def step(self, model: Any, batch: Any, state: Any, /, *, seed: int) -> Any:
        state.zero_grad()
        loss = model.objective.loss(model(batch["inputs"]), batch)
        (loss * len(batch["inputs"]) / 100).backward()
        state.step()
        return Step(model, state, {"loss": loss.detach()})


class Listing(Good):
    reads: ClassVar[Any] = ["inputs"]


RULES: dict[str, type] = {
    "declaration": Listing,
    "step": WithoutStep,
    "metrics": Attached,
    "same_seed": Unseeded,
    "resume": Remembering,
    "refusals": Undeclared,
    "reads": Peeking,
    "learns": Climbing,
    "sharded": Summing,
}


def test_a_good_learning_rule_passes() -> None:
    assert failing("rule", Case("good", Good)) == set()
    assert RULES.keys() == named("rule")


@pytest.mark.filterwarnings("ignore:Converting a tensor with requires_grad")
@pytest.mark.parametrize("check", RULES)
def test_each_learning_mutant_fails_its_check(check: str) -> None:
    task = reference_task("torch")
    if check == "refusals":  # without needs, it has to say itself what falls
        task = Task(task.model, measure=lambda m, b: m.objective.loss(m(b["inputs"]), b))
    assert failing("rule", Case("mutant", RULES[check], task)) == {check}


# Models: one in NumPy, one in torch that is energetic and layered


class Net(Perceptron):
    """The reference network; subclasses change one method."""

    def with_state(self, state: Any, /) -> Any:
        return type(self)(dict(state), self.framework)


class NumberedLayers(Net):
    def activations(self, inputs: Any, /) -> Any:
        return dict(enumerate(super().activations(inputs).values()))


class Reusing(Net):
    memory: ClassVar[dict[Any, Any]] = {}

    def activations(self, inputs: Any, /) -> Any:
        found = super().activations(inputs)
        for name, value in found.items():
            kept = self.memory.setdefault((name, value.shape), value)
            kept[:] = value
        return {name: self.memory[name, value.shape] for name, value in found.items()}


class Noisy(Net):
    def activations(self, inputs: Any, /) -> Any:
        noise = np.random.default_rng().normal(scale=1e-6)
        return {name: value + noise for name, value in super().activations(inputs).items()}


class Centred(Net):
    def activations(self, inputs: Any, /) -> Any:
        return {n: value - value.mean(0) for n, value in super().activations(inputs).items()}


class Forgetful(Net):
    def with_state(self, state: Any, /) -> Any:
        return type(self)({"hidden": state["hidden"], "output": self.weights["output"]})


class Transposed(Net):
    def synapses(self, inputs: Any, /) -> Any:
        found = super().synapses(inputs)
        return {n: s._replace(weight=s.weight.T) for n, s in found.items()}

    def nudge(self, deltas: Any, /) -> Any:
        return super().nudge({name: delta.T for name, delta in deltas.items()})

    def __call__(self, inputs: Any, /) -> Any:
        return Perceptron(self.weights)(inputs)

    def activations(self, inputs: Any, /) -> Any:
        return Perceptron(self.weights).activations(inputs)


class Decaying(Net):
    def nudge(self, deltas: Any, /) -> Any:
        return self.with_state({name: 0.99 * value for name, value in self.weights.items()})


class Talkative(Net):
    def __repr__(self) -> str:
        return "weights " * 2000


class Opaque(Net):
    """A JAX model that is no pytree, since only its base is registered."""


def undeclared_reads(net: Perceptron) -> Any:
    class Greedy(Net):
        objective = Objective("greedy", Perceptron.objective.loss)

    return Greedy(net.weights)


class Field2(TorchModel):
    """A torch model with stages, an energy and dropout."""

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 8), nn.Dropout(0.5), nn.Linear(8, 4))

    def forward(self, inputs: Any) -> Any:
        return self.body(inputs)

    def stages(self) -> Any:
        return list(self.body.named_children())

    def states(self, inputs: Any, /) -> Any:
        return {"inputs": inputs}

    def energy(self, states: Any, /) -> Any:
        return (states["inputs"].flatten(1) ** 2).sum(1)


class OneEnergy(Field2):
    def energy(self, states: Any, /) -> Any:
        return super().energy(states).sum()


class FewStages(Field2):
    def stages(self) -> Any:
        return super().stages()[:-1]


class LeftInEvaluation(Field2):
    def activations(self, inputs: Any, /) -> Any:
        found = super().activations(inputs)
        self.eval()
        return found


def net_case(make: Callable[[Perceptron], Any], framework: Any = "numpy") -> Case:
    task = reference_task(framework)
    return Case("net", lambda: make(task.model()), Task(task.model, task.source))


def torch_case(kind: type) -> Case:
    return Case("field", kind, Task(kind, reference_task("torch").source))


def same(kind: type) -> Callable[[Perceptron], Any]:
    return lambda net: kind(net.weights, net.framework)


MODELS: dict[str, Case] = {
    "activation_names": net_case(same(NumberedLayers)),
    "activations_are_copies": net_case(same(Reusing)),
    "deterministic": net_case(same(Noisy)),
    "batch_independence": net_case(same(Centred)),
    "state": net_case(same(Forgetful)),
    "mode": torch_case(LeftInEvaluation),
    "pytree": net_case(same(Opaque), "jax"),
    "energy": torch_case(OneEnergy),
    "stages": torch_case(FewStages),
    "synapses": net_case(same(Transposed)),
    "zero_nudge": net_case(same(Decaying)),
    "objective": net_case(undeclared_reads),
    "repr": net_case(same(Talkative)),
}


def fitting(fields: Any) -> Any:
    return {"weights": reference_task("numpy").model().weights}


def unfit(fields: Any) -> Any:
    """Made for half of the pixels."""
    weights = fitting(fields)["weights"]
    return {"weights": {**weights, "hidden": weights["hidden"][:, :32]}}


class Registering:
    """A plugin with one model, which is made for a task by `function`."""

    def __init__(self, function: str) -> None:
        self.function = function

    @hookimpl
    def bioviz_register(self, registry: Any) -> None:
        registry.model("net", "mutant:Net", summary="A net",
                       for_task=f"mutant:{self.function}")  # fmt: skip


@pytest.mark.parametrize(("function", "fails"), [("fitting", set()), ("unfit", {"for_task"})])
def test_a_model_that_is_made_wrongly_for_a_task_fails_its_check(
    monkeypatch: pytest.MonkeyPatch, function: str, fails: set[str]
) -> None:
    monkeypatch.setitem(sys.modules, "mutant", sys.modules[__name__])
    task = reference_task("numpy")
    with isolated_registry() as registry:
        registry.register(Registering(function), name="toy")
        case = Case("toy/net", lambda: Net(task.model().weights), task)
        assert failing("model", case) == fails


def test_good_models_pass() -> None:
    assert isinstance(Field2(), Energetic)
    assert isinstance(reference_task("numpy").model(), HasObjective)
    good = [net_case(same(Net)), torch_case(Field2)]
    good += [Case(name, reference_task(name).model) for name in ("torch", "jax")]  # type: ignore[arg-type]  # a framework
    assert [failing("model", case) for case in good] == [set()] * 4
    assert MODELS.keys() | {"for_task"} == named("model")


@pytest.mark.parametrize("check", MODELS)
def test_each_model_mutant_fails_its_check(check: str) -> None:
    assert failing("model", MODELS[check]) == {check}


# Stimuli


class Blobs:
    """Noise pictures, pure in seed, epoch and index."""

    fields: ClassVar[dict[str, Field]] = {"inputs": Field((3,), "float32", 0.0, 1.0)}

    def __len__(self) -> int:
        return 10

    def place(self, index: int, position: int, epoch: int) -> tuple[int, ...]:
        return epoch, index

    def batch(self, indices: Any, /, *, epoch: int = 0) -> Any:
        rows = [
            np.random.default_rng(self.place(index, position, epoch)).random(3)
            for position, index in enumerate(indices)
        ]
        return {"inputs": np.array(rows, "float32")}


class Wide(Blobs):
    def batch(self, indices: Any, /, *, epoch: int = 0) -> Any:
        return {"inputs": super().batch(indices, epoch=epoch)["inputs"] * 2}


class Latest(Blobs):
    latest = 0

    def place(self, index: int, position: int, epoch: int) -> tuple[int, ...]:
        self.latest = max(self.latest, epoch)
        return self.latest, index


class Positional(Blobs):
    def place(self, index: int, position: int, epoch: int) -> tuple[int, ...]:
        return epoch, position


class Hashed(Blobs):
    def place(self, index: int, position: int, epoch: int) -> tuple[int, ...]:
        return epoch, index, hash("blobs") % 2**30


STIMULI = {"fields": Wide, "pure": Latest, "order": Positional, "processes": Hashed}
SOURCES = """
from bioviz_core import hookimpl

@hookimpl
def bioviz_register(registry):
    for name in ("Blobs", "Wide", "Latest", "Positional", "Hashed"):
        registry.stimulus(name.lower(), f"blobs:{name}", summary="Noise")
"""


@pytest.fixture
def blobs(site: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The sources above, installed so that another process finds them."""
    source = Path(__file__).read_text().partition("# Stimuli\n")[2].partition("\nSTIMULI")[0]
    head = "import numpy as np\nfrom typing import Any, ClassVar\n"
    text = head + "from bioviz_core.interfaces import Field\n" + source
    (site.folder / "blobs.py").write_text(text)
    site.install("blobs", SOURCES)
    monkeypatch.setattr("bioviz_core.registry._registry", site.discover())
    yield
    sys.modules.pop("blobs", None)


@pytest.mark.slow
@pytest.mark.usefixtures("blobs")
def test_each_stimulus_mutant_fails_its_check() -> None:
    assert failing("stimulus", Case("blobs/blobs")) == set()
    assert STIMULI.keys() == named("stimulus")
    for check, kind in STIMULI.items():
        assert failing("stimulus", Case(f"blobs/{kind.__name__.lower()}")) == {check}


# Analyses


class Mean:
    """The standard deviation of responses: does not change with a shift."""

    needs = ("activations",)

    def __call__(self, data: Any, /) -> Result:
        if "activations" not in data:
            raise DataError("the data have no 'activations'")
        return Result({"std": self.std(data["activations"])})

    def std(self, responses: Any) -> float:
        return float(responses.std())


class Biased(Mean):
    def std(self, responses: Any) -> float:
        return float(responses.std(ddof=1))


class Uncentred(Mean):
    def std(self, responses: Any) -> float:
        return float(np.sqrt((responses**2).mean()))


class Spoiling(Mean):
    def std(self, responses: Any) -> float:
        responses *= 2
        return float(responses.std() / 2)


class Cryptic(Mean):
    def __call__(self, data: Any, /) -> Result:
        if "activations" not in data:
            raise ValueError("bad input")
        return super().__call__(data)


ANALYSES = {
    "known_answer": Biased,
    "invariances": Uncentred,
    "data_unmodified": Spoiling,
    "missing_data": Cryptic,
}


def analysis(kind: type) -> Case:
    def shift(data: Any) -> Any:
        return {"activations": data["activations"] + 3}

    data = {"activations": np.array([[1.0, -1.0], [1.0, -1.0]])}
    return Case("std", kind, data=data, answers={"std": 1.0}, invariances={"shift": shift})


def test_a_good_analysis_passes() -> None:
    assert failing("analysis", analysis(Mean)) == set()
    assert ANALYSES.keys() == named("analysis")
    assert failing("analysis", Case("bare", Mean)) >= {"known_answer"}


@pytest.mark.parametrize("check", ANALYSES)
def test_each_analysis_mutant_fails_its_check(check: str) -> None:
    assert failing("analysis", analysis(ANALYSES[check])) == {check}


# Experiments


class StudyConfig(Config):
    steps: int = 4
    """Steps."""


class Study:
    question = "Does it learn?"
    claims = (Claim("S-1", "It learns.", "Fig. 1", "loss", "<=", 9.0),)
    presets: ClassVar[Any] = {"smoke": {}, "laptop": {}, "paper": {}}

    def run(self, config: Any, run: Any) -> Any:
        task = reference_task("torch")
        torch.manual_seed(run.seed)
        fitted = fit(task.model(), Good(), task.source, steps=config.steps, batch_size=8, run=run)
        return {"loss": fitted.history[-1]["loss"]}


class Slow(Study):
    clock = 0.0

    def run(self, config: Any, run: Any) -> Any:
        Slow.clock += 16
        return super().run(config, run)


class Random(Study):
    def run(self, config: Any, run: Any) -> Any:
        return {**super().run(config, run), "luck": np.random.default_rng().random()}


class Historic(Study):
    def run(self, config: Any, run: Any) -> Any:
        return {"again": (run.path / "checkpoints").exists(), **super().run(config, run)}


class Messy(Study):
    def run(self, config: Any, run: Any) -> Any:
        found = super().run(config, run)
        run.table("results", {"a": [1]})
        (run.path / "tables" / "results.json").write_text("{")
        return found


class Unmeasured(Study):
    claims = (Claim("S-2", "It knows.", "Fig. 2", "knowledge", "<=", 9.0),)


EXPERIMENTS = {
    "is_quick": Slow,
    "same_seed": Random,
    "resume": Historic,
    "report": Messy,
    "claims": Unmeasured,
}


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[type], Case]]:
    monkeypatch.setattr(plugins, "perf_counter", lambda: Slow.clock)
    with isolated_registry() as registry:

        def case(kind: type) -> Case:
            monkeypatch.setitem(sys.modules, "study", module := type(sys)("study"))
            module.__dict__.update(Study=kind, StudyConfig=StudyConfig)

            class Plugin:
                @hookimpl
                def bioviz_register(self, registry: Any) -> None:
                    registry.experiment("study", "study:Study", config="study:StudyConfig",
                                        summary="Learns")  # fmt: skip

            registry.register(Plugin(), name="toy")
            return Case("toy/study")

        yield case


@pytest.mark.slow
@pytest.mark.parametrize("check", [None, *EXPERIMENTS])
def test_each_experiment_mutant_fails_its_check(
    study: Callable[[type], Case], check: str | None
) -> None:
    case = study(EXPERIMENTS[check] if check else Study)
    assert failing("experiment", case) == ({check} if check else set())
    assert EXPERIMENTS.keys() == named("experiment")


# Plugins

THINGS = '''
"""Things."""
from bioviz_core import Config, hookimpl

class Thing:
    """A thing."""

class _Bare:
    pass

class StudyConfig(Config):
    """Options."""
    steps: int = 1

class Study:
    """An experiment."""
    question, claims = "Why?", ()
    presets = {"smoke": {}}

class Wrong(Study):
    """An experiment with a preset that does not fit."""
    presets = {"smoke": {"step": 3}}
'''
REGISTER = """
from bioviz_core import hookimpl
{extra}

@hookimpl
def bioviz_register(registry):
    registry.model("thing", "things:{thing}", summary="A thing")
    registry.experiment("study", "things:{study}", config="things:StudyConfig", summary="A study")
"""
DISCOVERING = """
from importlib.metadata import entry_points
for point in entry_points(group="bioviz"):
    if point.name != "toy":
        point.load()
"""
PLUGINS: dict[str, dict[str, str]] = {
    "is_light": {"extra": "import numpy"},
    "targets": {"thing": "Absent"},
    "documented": {"thing": "_Bare"},
    "presets": {"study": "Wrong"},
    "survives_others": {"extra": DISCOVERING},
}


@pytest.mark.slow
@pytest.mark.parametrize("check", [None, *PLUGINS])
def test_each_plugin_mutant_fails_its_check(
    site: Any, monkeypatch: pytest.MonkeyPatch, check: str | None
) -> None:
    mutation = PLUGINS[check] if check else {}
    good = {"extra": "", "thing": "Thing", "study": "Study"}
    (site.folder / "things.py").write_text(THINGS)
    site.install("toy", REGISTER.format(**{**good, **mutation}))
    monkeypatch.setattr("bioviz_core.registry._registry", site.discover())
    monkeypatch.delitem(sys.modules, "things", raising=False)
    assert failing("plugin", Case("toy")) == ({check} if check else set())
    sys.modules.pop("things", None)
    assert PLUGINS.keys() == named("plugin")
