"""Checks of a model, and of each capability that it offers."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import numpy as np

from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Energetic, HasObjective, Synaptic, missing
from bioviz_core.lab.leaves import arrays_of, to_numpy
from bioviz_core.lab.tasks import for_task
from bioviz_core.registry import registry
from bioviz_core.testing.tasks import Case

LONGEST = 4000
"""Characters of a repr that a terminal can still show."""


def _copies(tree: Any) -> list[np.ndarray]:
    return [to_numpy(array).copy() for array in arrays_of(tree)]


def _same(one: list[np.ndarray], other: list[np.ndarray]) -> bool:
    """The same to the bit."""
    return [array.tobytes() for array in one] == [array.tobytes() for array in other]


def _close(one: Any, other: Any) -> bool:
    """Equal within the rounding of another batch size, or of another way through the layers."""
    return np.allclose(to_numpy(one), to_numpy(other), rtol=1e-3, atol=1e-4)


def check_model_activation_names(model: Any, inputs: Any) -> None:
    """Analyses ask for layers by name: names are text, and each call gives them in one order.

    Fix: return a dict of `str`, filled in the order of computation.
    """
    names, again = (list(model.activations(given)) for given in (inputs, inputs[:2]))
    assert {type(name) for name in names} == {str}, f"layers are called {names}"
    assert names == again, f"layers are {names}, then {again}"


def check_model_activations_are_copies(model: Any, inputs: Any) -> None:
    """Responses that were handed out stay as they are, whatever the model computes next.

    Fix: copy (`detach().clone()`, `.copy()`) what a later call or an in-place layer rewrites.
    """
    before = _copies(found := dict(model.activations(inputs)))
    model.activations(inputs * 0.5)
    assert _same(before, _copies(found)), "a later call changes responses handed out before"


def check_model_deterministic(model: Any, inputs: Any) -> None:
    """Two calls give the same responses: analyses compare layers, not noise.

    Fix: evaluation mode, no dropout and no noise inside `activations`.
    """
    one, other = (_copies(dict(model.activations(inputs))) for _ in range(2))
    assert _same(one, other), "two calls differ"


def check_model_batch_independence(model: Any, inputs: Any) -> None:
    """A response does not depend on who else is in the batch.

    Fix: normalize within a sample; use running statistics in evaluation mode.
    """
    whole, alone = model.activations(inputs), model.activations(inputs[:1])
    for name, value in whole.items():
        assert len(value) == len(inputs), f"{name} has not the sample first"
        assert _close(value[:1], alone[name]), f"{name} of a sample depends on its batch"


def _scaled(tree: Any, factor: float = 1.0) -> Any:
    """A copy of nested arrays, the floating ones multiplied."""
    if isinstance(tree, dict):
        return {key: _scaled(value, factor) for key, value in tree.items()}
    if isinstance(tree, list | tuple):
        return type(tree)(_scaled(value, factor) for value in tree)
    return tree * factor if "float" in str(getattr(tree, "dtype", "")) else tree


def check_model_state(model: Any, inputs: Any) -> None:
    """`with_state(state_tree())` gives the model back: a checkpoint is nothing else.

    Fix: put everything that training changes into `state_tree`; a torch model is refilled in
    place, since an optimizer holds its parameters.
    """
    state, before = _scaled(model.state_tree()), _copies(dict(model.activations(inputs)))
    restored = model
    for factor in (1.5, 1.0):
        restored = restored.with_state(given := _scaled(state, factor))
        assert _same(_copies(given), _copies(restored.state_tree())), "part of a state is ignored"
    after = _copies(dict(restored.activations(inputs)))
    assert all(map(_close, before, after)), "the state comes back and the responses do not"
    assert restored is model or model.framework != "torch", "with_state returns another model"


def check_model_mode(model: Any, inputs: Any) -> None:
    """Looking at a torch model leaves it and each of its parts in the mode that it was in.

    Fix: `bioviz_core.bridge.torch.quiet(model)`.
    """
    for mode in (True, False) if model.framework == "torch" else ():
        before = [module.training for module in model.train(mode).modules()]
        model.activations(inputs)
        after = [module.training for module in model.modules()]
        assert before == after, f"activations leave train({mode}) changed"


def check_model_pytree(model: Any, inputs: Any) -> None:
    """A JAX model is a pytree with static settings, so that the host can compile a rule's step.

    Fix: `jax.tree_util.register_dataclass`, arrays as data fields and settings as meta fields.
    """
    if model.framework == "jax":
        import jax

        compiled: Any = jax.jit(lambda model, inputs: model(inputs))
        for other in (model, model.with_state(model.state_tree())):
            compiled(other, inputs)
        assert compiled._cache_size() == 1, "two models of one shape are compiled twice"


def check_model_energy(model: Any, inputs: Any) -> None:
    """`energy` is one finite number per sample, and that of a sample is its own.

    Fix: sum over everything but the first axis.
    """
    if not missing(model, Energetic):
        found, alone = (model.energy(model.states(given)) for given in (inputs, inputs[:1]))
        assert found.shape == (len(inputs),), f"energy has the shape {tuple(found.shape)}"
        assert np.isfinite(to_numpy(found)).all(), "an energy is not finite"
        assert _close(found[:1], alone), "the energy of a sample depends on its batch"


def check_model_stages(model: Any, inputs: Any) -> None:
    """The stages of a torch model, one after the other, are the call, each time the same.

    Fix: leave no computation between stages (a `flatten` is a stage); no randomness in them.
    """
    if model.framework == "torch" and "stages" in dir(type(model)):
        from bioviz_core.bridge.torch import quiet

        with quiet(model):
            for _ in range(2):
                activity = inputs
                for _, stage in model.stages():
                    activity = stage(activity)
                assert _close(activity, model(inputs)), "the stages do not compose to the call"


def check_model_synapses(model: Any, inputs: Any) -> None:
    """`weight (out, in)`, `pre (batch, in)`, `post (batch, out)`: local rules rely on it.

    Fix: transpose what your framework stores the other way round.
    """
    for name, synapse in {} if missing(model, Synaptic) else model.synapses(inputs).items():
        pre, post, weight = (tuple(array.shape) for array in synapse)
        fits = pre[:1] + weight == post + pre[1:]
        assert fits, f"{name} has pre {pre}, post {post} and weight {weight}"


def check_model_zero_nudge(model: Any, inputs: Any) -> None:
    """A change of zero changes nothing.

    Fix: add the deltas and do no more; no decay, no rescaling.
    """
    if not missing(model, Synaptic):
        before, found = _copies(model.state_tree()), model.synapses(inputs)
        after = model.nudge({name: 0 * synapse.weight for name, synapse in found.items()})
        assert _same(before, _copies(after.state_tree())), "a zero nudge changes the weights"


def check_model_objective(model: Any, batch: Any) -> None:
    """The objective is a finite scalar computed from the keys that it says it reads.

    Fix: average over the batch; name every key in `Objective.reads`.
    """
    if not missing(model, HasObjective):
        only = {key: batch[key] for key in model.objective.reads}
        loss = to_numpy(model.objective.loss(model(batch["inputs"]), only))
        assert np.isfinite(loss).all(), f"the objective is {loss}"
        assert loss.shape == (), f"the objective has the shape {loss.shape}"


def check_model_for_task(case: Case) -> None:
    """Made for a task, a model answers its stimuli: so models are compared on one task.

    Fix: let `for_task` take shape and classes from `fields`, and raise `IncompatibleError` where
    they cannot fit.
    """
    if any(ref.for_task for ref in registry().list("model", case.name)):
        with suppress(IncompatibleError):
            model = for_task(case.name, case.trial.source)
            inputs = case.trial.batch(model)["inputs"]
            try:
                answers = [array.shape[:1] for array in arrays_of(model(inputs))]
            except Exception as error:
                raise AssertionError(f"what for_task makes ends in {error!r}") from error
            assert (len(inputs),) in answers, f"{len(inputs)} samples get {answers} answers"


def check_model_repr(model: Any) -> None:
    """A model's repr fits a terminal and an error message.

    Fix: `__repr__` with the settings, not the arrays.
    """
    length = len(repr(model))
    assert length <= LONGEST, f"repr has {length} characters, at most {LONGEST}"
