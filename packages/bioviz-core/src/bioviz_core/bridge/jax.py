"""JAX: a pytree as a `Model`, the gradient rule, and the host that places, compiles and donates.

model = as_model(apply, params, objective=Objective("squared error", loss, reads=("targets",)))
fitted = fit(model, Backprop(optax.adam(1e-3)), source, steps=100, batch_size=16, run=None)
"""

from __future__ import annotations

import gc
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from bioviz_core.errors import CheckpointError, ConfigError, IncompatibleError, Problem
from bioviz_core.interfaces import (
    Array,
    Batch,
    Framework,
    HasObjective,
    Objective,
    Refusal,
    Step,
    Tree,
)

PRECISIONS = ("float32", "float64", "bfloat16")
Apply = Callable[[Any, Any], Any]
Options = tuple[tuple[str, Any], ...]
QUICK: Options = (
    ("xla_backend_optimization_level", 0),
    ("xla_cpu_use_fusion_emitters", False),
)
_options: ContextVar[Options] = ContextVar("compiler options", default=())

# A pure pair as a model


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class JaxModel:
    """`apply(params, inputs)` as a `Model`: a pytree whose leaves are the parameters.

    The functions and the objective are static: two models with other functions are other types to
    JAX. `layers(params, inputs)` gives the activations by name.
    """

    params: Any
    apply: Apply = field(metadata={"static": True})
    layers: Callable[[Any, Any], Mapping[str, Any]] | None = field(
        default=None, metadata={"static": True}
    )
    objective: Objective | None = field(default=None, metadata={"static": True})
    framework: Framework = field(default="jax", metadata={"static": True})

    def __call__(self, inputs: Array, /) -> Any:
        """What `apply` answers."""
        return self.apply(self.params, inputs)

    def activations(self, inputs: Array, /) -> dict[str, Array]:
        """The layers' responses; without `layers`, the outputs alone, by their place if a tree."""
        if self.layers is not None:
            return dict(self.layers(self.params, inputs))
        outputs = jax.tree_util.tree_leaves_with_path(self(inputs))
        return {"output" + jax.tree_util.keystr(path): leaf for path, leaf in outputs}

    def state_tree(self) -> Tree:
        """The parameters."""
        return self.params

    def with_state(self, state: Tree, /) -> Self:
        """The model anew with these parameters; `CheckpointError` where they are of other shape."""
        return replace(self, params=refill(self.params, state))


def as_model(
    apply: Apply,
    params: Any,
    activations: Callable[[Any, Any], Mapping[str, Any]] | None = None,
    objective: Objective | None = None,
) -> JaxModel:
    """A pure pair `apply(params, inputs)` as a `Model`."""
    return JaxModel(jax.tree.map(jnp.asarray, params), apply, activations, objective)


def refill(like: Tree, state: Tree) -> Tree:
    """`state` in the structure of `like`: nothing is cast, a misfit is a `CheckpointError`."""
    own, structure = jax.tree_util.tree_flatten_with_path(like)
    given = jax.tree.leaves(state)
    if len(own) != len(given):
        raise CheckpointError(f"the model has {len(own)} arrays, the state {len(given)}")
    for (path, leaf), value in zip(own, given, strict=True):
        if np.shape(leaf) != np.shape(value) or _dtype(leaf) != _dtype(value):
            raise CheckpointError(
                f"needs {np.shape(leaf)} {_dtype(leaf)}, "
                f"the state has {np.shape(value)} {_dtype(value)}",
                path=jax.tree_util.keystr(path),
            )
    return jax.tree.unflatten(structure, [jnp.asarray(value) for value in given])


def _dtype(leaf: Any) -> Any:
    return getattr(leaf, "dtype", None) or np.asarray(leaf).dtype


# The gradient rule


class Backprop:
    """Gradient descent on the model's own objective, by an optax optimiser.

    Every floating-point leaf of the model's state is trained; mask with `optax.masked` or
    `optax.multi_transform`.
    """

    framework: Framework | None = "jax"
    needs: tuple[type, ...] = (HasObjective,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def __init__(self, optimizer: optax.GradientTransformation) -> None:
        self.optimizer = optimizer

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Any:
        """The optimiser's state; `IncompatibleError` where the model has nothing to train."""
        del batch, seed
        state = model.state_tree()
        if not any(jnp.issubdtype(_dtype(leaf), jnp.inexact) for leaf in jax.tree.leaves(state)):
            why = f"{type(model).__name__} has no floating-point parameters"
            raise IncompatibleError([Refusal("model", "parameters", why)])
        return self.optimizer.init(state)

    def step(self, model: Any, batch: Batch, state: Any, /, *, seed: int) -> Step[Any, Any]:
        """One step down the gradient of the objective."""
        del seed

        def loss(params: Any) -> Any:
            moved = model.with_state(params)
            return moved.objective.loss(moved(batch["inputs"]), batch)

        params = model.state_tree()
        value, slope = jax.value_and_grad(loss)(params)
        change, state = self.optimizer.update(slope, state, params)
        return Step(model.with_state(optax.apply_updates(params, change)), state, {"loss": value})


# Where JAX computes


class Host:
    """Places batches, compiles the step once, and hands its buffers on.

    `device` is "auto", "cpu", "gpu", "cuda" or "cuda:1"; a named device that is absent is a
    `ConfigError`, never a fallback. "auto" takes every device of JAX's platform: a batch that they
    divide evenly is shared out, model and state are on each, and XLA adds up what they find.
    float64 holds inside `step` and `place`, through the `enable_x64` context; the process keeps its
    own setting. `threads` limits the CPUs of the process, from which XLA makes its own at start.
    """

    def __init__(
        self, *, device: str = "auto", precision: str = "float32", threads: int | None = None
    ) -> None:
        if precision not in PRECISIONS:
            raise _config_error("precision", f"{precision!r} is none of {', '.join(PRECISIONS)}")
        if threads is not None:
            _limit(threads)
        self.rank, self.world = 0, 1
        devices = _devices(device)
        self.precision, self.device, self.count = precision, devices[0], len(devices)
        self.split: Any = self.device
        self.copied: Any = self.device
        if self.count > 1:
            mesh = jax.make_mesh((self.count,), ("batch",), (AxisType.Auto,), devices=devices)
            specs = PartitionSpec("batch"), PartitionSpec()  # type: ignore[no-untyped-call]  # jax
            self.split, self.copied = (NamedSharding(mesh, spec) for spec in specs)

    def place(self, batch: Batch) -> Batch:
        """The batch where it is computed: floats in the run's precision, integers as they are."""
        with jax.enable_x64(self.precision == "float64"):
            return {key: self._place(value) for key, value in batch.items()}  # type: ignore[return-value]  # TypedDict of arrays

    def _place(self, value: Any) -> Any:
        array = np.asarray(value)
        if np.issubdtype(array.dtype, np.floating):
            array = array.astype(jnp.dtype(self.precision))
        is_even = array.ndim > 0 and len(array) % self.count == 0
        return jax.device_put(array, self.split if is_even else self.copied)

    def compile(self, step: Callable[..., Step[Any, Any]]) -> Callable[..., Step[Any, Any]]:
        """The step under jit, one trace per shape; model and state are donated off the CPU.

        On the CPU nothing is: there XLA frees the old buffers soon anyway, and a caller who keeps
        the model of before, against the contract, would otherwise meet an error on a GPU only.
        The seed is an argument, hence not a reason to trace again. So is a rule that is a pytree:
        rules of one type that differ in numbers only share what was compiled.
        """
        donated = () if self.device.platform == "cpu" else (0, 2)
        rule = getattr(step, "__self__", None)
        compiled: Callable[..., Any]
        if rule is None or jax.tree_util.all_leaves([rule]):

            def run(model: Any, batch: Batch, state: Any, seed: Any) -> Step[Any, Any]:
                return step(model, batch, state, seed=seed)

            compiled = jit(run, donate_argnums=donated)
        else:
            placed = jax.device_put(rule, self.copied)
            compiled = partial(_shared(step.__func__, donated, _options.get()), placed)  # type: ignore[attr-defined]  # a method has one

        def call(model: Any, batch: Batch, state: Any, /, *, seed: int) -> Step[Any, Any]:
            # Arrays that no device was chosen for, as those of a new model, would compile anew.
            model, state = jax.device_put((model, state), self.copied)
            # A seed has 63 bits at most; JAX folds it into 32 where 64 are off.
            found = compiled(model, batch, state, np.uint32(seed % 2**32))
            return Step(*found)

        return call

    def adopt(self, model: Any, state: Tree) -> None:
        """Nothing: JAX arrays are immutable and follow the batch's device."""

    @contextmanager
    def step(self, seed: int) -> Iterator[None]:
        """Around one step: the precision and the device."""
        del seed  # randomness is an argument of the rule
        with jax.enable_x64(self.precision == "float64"), jax.default_device(self.device):
            yield


@lru_cache(maxsize=16)
def _shared(
    step: Callable[..., Step[Any, Any]], donated: tuple[int, ...], options: Options
) -> Callable[..., Any]:
    """A rule's step as a compiled function of the rule too; `donated` counts without the rule."""

    def run(rule: Any, model: Any, batch: Batch, state: Any, seed: Any) -> Step[Any, Any]:
        return step(rule, model, batch, state, seed=seed)

    donate = tuple(1 + place for place in donated)
    return jax.jit(run, donate_argnums=donate, compiler_options=dict(options))


@contextmanager
def quick_compilation() -> Iterator[None]:
    """Within it XLA hardly optimizes: a fifth of the time to compile, several times that to run."""
    token, often = _options.set(QUICK), gc.get_threshold()
    # What is traced lives on, and every collection would walk it in vain.
    gc.set_threshold(50_000, 50, 100)
    try:
        yield
    finally:
        _options.reset(token)
        gc.set_threshold(*often)


def is_quick() -> bool:
    """Whether `quick_compilation` is in force."""
    return _options.get() == QUICK


def jit(function: Callable[..., Any], **options: Any) -> Callable[..., Any]:
    """`jax.jit`, mindful of `quick_compilation`."""
    compiled: Callable[..., Any] = jax.jit(
        function, compiler_options=dict(_options.get()), **options
    )
    return compiled


def _devices(name: str) -> list[jax.Device]:
    kind, _, index = name.partition(":")
    if name == "auto":
        return jax.devices()
    if kind not in ("cpu", "gpu", "cuda", "tpu") or (index and not index.isdigit()):
        raise _config_error("device", f"{name!r} is none of auto, cpu, gpu, cuda, cuda:N")
    try:
        return [jax.devices(kind)[int(index or 0)]]
    except (RuntimeError, IndexError) as error:
        found = ", ".join(str(device) for device in jax.devices())
        raise _config_error("device", f"{name} is absent: JAX sees {found}") from error


def _limit(threads: int) -> None:
    """XLA takes its threads from the CPUs that the process may use."""
    if threads < 1:
        raise _config_error("threads", f"{threads} is less than 1")
    if hasattr(os, "sched_setaffinity"):
        allowed = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, allowed[: min(threads, len(allowed))])


def _config_error(path: str, message: str) -> ConfigError:
    return ConfigError([Problem(path, message)], of="the device settings")


# Leaves of a checkpoint


def export_leaf(leaf: Any) -> tuple[np.ndarray[Any, Any], str]:
    """An array and its true dtype; of a typed key its data, and the key's kind as dtype."""
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return np.asarray(jax.random.key_data(leaf)), f"key<{jax.random.key_impl(leaf)}>"
    return np.asarray(leaf), leaf.dtype.name


def import_leaf(array: np.ndarray[Any, Any], dtype: str, like: Any = None) -> jax.Array:
    """The JAX array of what was stored; `like`, where given, decides the device."""
    # float64 must not be narrowed because the process runs in 32 bits.
    with jax.enable_x64(array.dtype.itemsize == 8):
        value: jax.Array
        if dtype.startswith("key<"):
            value = jax.random.wrap_key_data(jnp.asarray(array), impl=dtype[4:-1])
        else:
            value = jnp.asarray(array.view(jnp.dtype(dtype)))
        return value if like is None else jax.device_put(value, like.device)
