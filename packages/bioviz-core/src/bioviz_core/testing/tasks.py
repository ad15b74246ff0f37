"""What is checked and on what: cases, and reference tasks with real digits in each framework."""

from __future__ import annotations

import sys
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache, partial
from typing import Any, ClassVar

import numpy as np
from array_api_compat import array_namespace

from bioviz_core.interfaces import Array, Batch, Framework, Objective, StimulusSource, Synapse
from bioviz_core.lab.fit import host_like
from bioviz_core.lab.leaves import to_numpy
from bioviz_core.registry import registry
from bioviz_core.stimuli.embedded import digits

Data = Mapping[str, Any]


@dataclass(frozen=True)
class Task:
    """What a rule or model is tried on; `model` makes one anew.

    `measure(model, batch)` falls where a rule learns; without one it is the model's objective.
    """

    model: Callable[[], Any]
    source: StimulusSource = field(default_factory=digits)
    steps: int = 60
    batch_size: int = 32
    measure: Callable[[Any, Batch], Any] | None = None

    def batch(self, model: Any, count: int = 16) -> Any:
        """The first samples, where the model computes."""
        samples = self.source.batch(range(min(count, len(self.source))))
        return host_like(model).place(samples)

    def value(self, model: Any) -> float:
        """The measure on the first 256 samples."""
        batch = self.batch(model, 256)
        measure = self.measure or (lambda model, b: model.objective.loss(model(b["inputs"]), b))
        return float(to_numpy(measure(model, batch)))


@dataclass(frozen=True, eq=False)
class Case:
    """One object to check. `make` makes it anew, by default `bv.create(name)`.

    `task`: for a rule, the model and stimuli that it is tried on; for a model, its stimuli. The
    default is the reference task of the framework, real digits. `tags`: "hebbian" for a local rule
    that must not grow without activity. For an analysis `data` and the `answers` known for them by
    scalar, and `invariances`: by name, what may be done to the data without changing any scalar.
    """

    name: str
    make: Callable[[], Any] | None = None
    task: Task | None = None
    tags: tuple[str, ...] = ()
    data: Data = field(default_factory=dict)
    answers: Mapping[str, float] = field(default_factory=dict)
    invariances: Mapping[str, Callable[[Data], Data]] = field(default_factory=dict)

    @property
    def case(self) -> Case:
        """The case itself."""
        return self

    @property
    def thing(self) -> Any:
        """The object, made anew and always alike."""
        return alike(self.make or partial(registry().create, self.name))

    @property
    def trial(self) -> Task:
        """What it is tried on."""
        return self.task or reference_task(self.thing.framework or "numpy")

    @property
    def model(self) -> Any:
        """The model that is checked, or on which a rule is tried; made anew, always alike."""
        thing = self.thing
        return thing if hasattr(thing, "activations") else alike(self.trial.model)

    @property
    def batch(self) -> Any:
        """A batch where the model computes."""
        return self.trial.batch(self.model)

    @property
    def inputs(self) -> Any:
        """Inputs where the model computes."""
        return self.batch["inputs"]


def alike(make: Callable[[], Any]) -> Any:
    """What `make` makes, with the same initial weights at each call."""
    if "torch" not in sys.modules:
        made = make()
        if "torch" not in sys.modules:
            return made
    torch: Any = sys.modules["torch"]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return make()


@cache
def reference_task(framework: Framework) -> Task:
    """Digits and a perceptron `64 -> 16 -> 10`: objective, synapses, and in torch stages."""
    if framework == "torch":
        return Task(_torch_perceptron)
    xp: Any = np
    if framework == "jax":
        import jax
        import jax.numpy as xp

        jax.tree_util.register_dataclass(Perceptron, ["weights"], ["framework"])
    rng = np.random.default_rng(0)
    hidden, output = rng.normal(0, 0.1, (16, 64)), rng.normal(0, 0.2, (10, 16))
    weights = {"hidden": xp.asarray(hidden, "float32"), "output": xp.asarray(output, "float32")}
    return Task(lambda: Perceptron(weights, framework))


def _cross_entropy(outputs: Array, batch: Batch) -> Array:
    xp: Any = array_namespace(outputs)
    centred = outputs - xp.max(outputs, axis=1, keepdims=True)
    likelihood = centred - xp.log(xp.sum(xp.exp(centred), axis=1, keepdims=True))
    return -xp.mean(likelihood[xp.arange(len(outputs)), batch["labels"]])


@dataclass(frozen=True)
class Perceptron:
    """The reference network of NumPy and JAX: `weights` by name, `(out, in)`, never changed."""

    weights: Mapping[str, Array]
    framework: Framework = "numpy"
    objective: ClassVar[Objective] = Objective("cross-entropy", _cross_entropy, ("labels",))

    def __call__(self, inputs: Array, /) -> Array:
        """The output layer."""
        return self.synapses(inputs)["output"].post

    def activations(self, inputs: Array, /) -> dict[str, Array]:
        """Both layers."""
        return {name: synapse.post for name, synapse in self.synapses(inputs).items()}

    def synapses(self, inputs: Array, /) -> dict[str, Synapse]:
        """Both weights, with the activity at their ends; the hidden rates are rectified."""
        first, second = self.weights["hidden"], self.weights["output"]
        pixels = inputs.reshape(len(inputs), -1)
        hidden = (pixels @ first.T).clip(0)
        output = Synapse(hidden, hidden @ second.T, second)
        return {"hidden": Synapse(pixels, hidden, first), "output": output}

    def nudge(self, deltas: Mapping[str, Array], /) -> Perceptron:
        """One with other weights."""
        return self.with_state({n: w + deltas.get(n, 0 * w) for n, w in self.weights.items()})

    def state_tree(self) -> dict[str, Array]:
        """The weights."""
        return dict(self.weights)

    def with_state(self, state: Mapping[str, Array], /) -> Perceptron:
        """One with these weights."""
        return Perceptron(dict(state), self.framework)


def _torch_perceptron() -> Any:
    from torch import nn
    from torch.nn.functional import cross_entropy

    from bioviz_core.bridge.torch import as_model

    parts = [nn.Flatten(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, 10)]
    named = OrderedDict(zip(("flatten", "hidden", "rates", "output"), parts, strict=True))
    loss = Objective("cross-entropy", lambda o, b: cross_entropy(o, b["labels"]), ("labels",))
    return as_model(nn.Sequential(named), loss)
