"""The five interfaces that plugins meet in; all are Protocols, nobody inherits from core."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Generic,
    Literal,
    NamedTuple,
    Protocol,
    Self,
    TypedDict,
    TypeVar,
    runtime_checkable,
)

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.axes import Axes

    from bioviz_core.lab.run import Run

# Arrays of any framework, and trees of them: naming their types would import the framework.
Array = Any
Scalar = Any
Tree = Any
Framework = Literal["numpy", "torch", "jax"]


class Batch(TypedDict, total=False):
    """One batch, the sample first: an ordinary dict, hence a JAX pytree; further keys are allowed.

    `labels` are integers, `targets` arrays to reproduce, `task` the task of each sample, `mask`
    which entries count, `noise` the noise of each stimulus, `index` the place in the source.
    """

    inputs: Array
    labels: Array
    targets: Array
    task: Array
    mask: Array
    noise: Array
    index: Array


@runtime_checkable
class Model(Protocol):
    """Something that answers inputs and names the responses inside it."""

    framework: Framework

    def __call__(self, inputs: Array, /) -> Any:
        """Answer a batch of inputs."""

    def activations(self, inputs: Array, /) -> Mapping[str, Array]:
        """Responses by layer name, in order of computation; copies, evaluation mode, no noise."""

    def state_tree(self) -> Tree:
        """Everything that training changes, as a tree of arrays."""

    def with_state(self, state: Tree, /) -> Self:
        """The model with this state: a torch model in place, a JAX model anew."""


M = TypeVar("M", bound=Model)
S = TypeVar("S")


class Step(NamedTuple, Generic[M, S]):
    """What a step leaves: use only this, the model and state given to `step` are consumed."""

    model: M
    state: S
    metrics: Mapping[str, Scalar]


@runtime_checkable
class LearningRule(Protocol[M, S]):
    """Changes a model from one batch; randomness comes from `seed`, never a stored generator.

    `framework` is None for array-API code that runs in all three. `needs` are capabilities of the
    model, `reads` keys of the batch; `sharded`: may each process see its own part of the batch?
    """

    framework: Framework | None
    needs: tuple[type, ...]
    reads: tuple[str, ...]
    sharded: bool

    def init(self, model: M, batch: Batch, /, *, seed: int) -> S:
        """The rule's state; only shapes and dtypes of the batch may be used."""

    def step(self, model: M, batch: Batch, state: S, /, *, seed: int) -> Step[M, S]:
        """Learn from one batch."""


@runtime_checkable
class LocalRule(Protocol):
    """A synapse's change from the activity at its two ends."""

    def delta(self, pre: Array, post: Array, weight: Array, teach: Array | None = None) -> Array:
        """Change of `weight (out, in)`, to be added: the mean over the batch.

        `pre` is `(batch, in)`, `post` and `teach` are `(batch, out)`.
        """


@dataclass(frozen=True, slots=True)
class Objective:
    """A model's loss: `loss(outputs, batch)` is a scalar; `reads` are the batch keys it takes."""

    name: str
    loss: Callable[[Any, Batch], Array]
    reads: tuple[str, ...] = ()


@runtime_checkable
class HasObjective(Model, Protocol):
    """A model that knows what it is trained for."""

    objective: Objective | None


@runtime_checkable
class Energetic(Model, Protocol):
    """A model that gives each joint state an energy."""

    def states(self, inputs: Array, /) -> Mapping[str, Array]:
        """Initial states of the model's variables for these inputs."""

    def energy(self, states: Mapping[str, Array], /) -> Array:
        """One number per sample."""


class Synapse(NamedTuple):
    """A weight `(out, in)` and the activity at its ends: `pre (batch, in)`, `post (batch, out)`."""

    pre: Array
    post: Array
    weight: Array


@runtime_checkable
class Synaptic(Model, Protocol):
    """A model that shows its synapses and takes changes to them."""

    def synapses(self, inputs: Array, /) -> Mapping[str, Synapse]:
        """The synapses by name, with the activity that these inputs evoke."""

    def nudge(self, deltas: Mapping[str, Array], /) -> Self:
        """Add `deltas` to the weights of the same names."""


class Field(NamedTuple):
    """What one key of a source's batches holds, per sample."""

    shape: tuple[int, ...]
    dtype: str
    low: float | None = None
    high: float | None = None
    classes: int | None = None
    unit: str | None = None


@runtime_checkable
class StimulusSource(Protocol):
    """Batches by index; pure: `(indices, epoch)` decide everything, order of asking nothing."""

    fields: Mapping[str, Field]

    def __len__(self) -> int:
        """How many samples there are."""

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        """The samples of these indices, as NumPy arrays."""


@runtime_checkable
class Analysis(Protocol):
    """Arrays in, `Result` out; `needs` are keys of `data`, activations `(samples, features)`."""

    needs: tuple[str, ...]

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Analyse."""


@dataclass(frozen=True)
class Result:
    """What an analysis found: numbers, arrays, notes, and how to draw them on one axes."""

    scalars: Mapping[str, float]
    arrays: Mapping[str, np.ndarray] = field(default_factory=dict)
    draw: Callable[[Axes], None] | None = None
    notes: tuple[str, ...] = ()

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw on `ax`, or on a new single figure."""
        if self.draw is None:
            raise ValueError("this result has no picture: read its scalars and arrays")
        if ax is None:
            from matplotlib.figure import Figure

            ax = Figure(figsize=(3.5, 2.3), layout="constrained").subplots()
        self.draw(ax)
        return ax

    def _repr_png_(self) -> bytes | None:
        """The picture, for a notebook."""
        from io import BytesIO

        buffer = BytesIO()
        if self.draw and (figure := self.plot().get_figure(root=True)):
            figure.savefig(buffer, dpi=144)
        return buffer.getvalue() or None


class Part(NamedTuple):
    """One measured part of a claim: a metric of the run, by seed, and what is asked of it."""

    metric: str
    rule: str
    bound: float | str = 0.0
    unit: str = ""


@dataclass(frozen=True, slots=True)
class Claim:
    """One checkable sentence, judged on what the experiment's `run` returned.

    `rule` is `up`, `>`, `<`, `equal`, `exact`, `<=`, `>=` or `share` and `bound` its m, x or "k/n";
    `also` are further parts that must hold too. The tag `certificate`: must hold in every preset.
    """

    id: str
    sentence: str
    source: str
    metric: str
    rule: str
    bound: float | str = 0.0
    unit: str = ""
    seeds: int = 1
    tags: tuple[str, ...] = ()
    also: tuple[Part, ...] = ()

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every part, the first being the claim's own."""
        return (Part(self.metric, self.rule, self.bound, self.unit), *self.also)


Measured = float | Sequence[float]
C = TypeVar("C", contravariant=True)


@runtime_checkable
class Experiment(Protocol[C]):
    """A configuration, a run and its claims."""

    question: ClassVar[str]
    claims: ClassVar[tuple[Claim, ...]]
    presets: ClassVar[Mapping[str, Mapping[str, object]]]

    def run(self, config: C, run: Run, /) -> Mapping[str, Measured]:
        """Do it, writing through `run`; a number, or one per seed, by metric. No clock in them."""


class Refusal(NamedTuple):
    """Why a rule cannot train a model on a source."""

    kind: Literal["framework", "capability", "data", "model"]
    need: str
    why: str

    def __str__(self) -> str:
        return f"  {self.kind}: {self.why}"


def members(capability: type) -> tuple[str, ...]:
    """The names that a capability asks for, its bases' included."""
    names: dict[str, None] = {}
    for base in reversed(capability.__mro__):
        if getattr(base, "_is_protocol", False) and base.__module__ != "typing":
            names.update(dict.fromkeys([*getattr(base, "__annotations__", {}), *vars(base)]))
    return tuple(name for name in names if name == "__call__" or not name.startswith("_"))


def missing(model: object, capability: type) -> tuple[str, ...]:
    """The members of a capability that the model lacks; one that is None is lacking."""
    return tuple(name for name in members(capability) if getattr(model, name, None) is None)


def refusals(
    rule: LearningRule[Any, Any], model: Model, source: StimulusSource | None = None
) -> tuple[Refusal, ...]:
    """Every reason why this rule cannot train this model on this source; empty where it can."""
    found = []
    if rule.framework is not None and rule.framework != model.framework:
        why = f"{_name(rule)} computes in {rule.framework}, {_name(model)} in {model.framework}"
        found.append(Refusal("framework", rule.framework, why))
    for capability in rule.needs:
        if absent := missing(model, capability):
            why = f"{_name(rule)} needs {', '.join(absent)}, which {_name(model)} does not have"
            found.append(Refusal("capability", capability.__name__, why))
    if source is not None:
        uses = any("objective" in members(capability) for capability in rule.needs)
        objective = getattr(model, "objective", None) if uses else None
        reads = dict.fromkeys([*rule.reads, *(objective.reads if objective else ())])
        for key in [key for key in reads if key not in source.fields]:
            why = f"the batch key {key!r} is read, {_name(source)} does not give it"
            found.append(Refusal("data", key, why))
    return tuple(found)


def _name(thing: object) -> str:
    return type(thing).__name__
