"""torch: an `nn.Module` as a `Model`, the gradient rule, and the host that places and seeds.

class Net(TorchModel):
    def __init__(self):
        super().__init__()
        self.hidden, self.readout = nn.Linear(64, 32), nn.Linear(32, 10)

    def forward(self, images):
        return self.readout(self.hidden(images.flatten(1)).relu())

Net().activations(images)  # {"hidden": ..., "readout": ...}
as_model(nn.Sequential(nn.Linear(64, 10)), objective=cross_entropy)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, Self, runtime_checkable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from bioviz_core.bridge.torch_files import check_like
from bioviz_core.bridge.torch_files import export_leaf as export_leaf
from bioviz_core.bridge.torch_files import import_leaf as import_leaf
from bioviz_core.bridge.torch_files import open_checkpoint as open_checkpoint
from bioviz_core.bridge.torch_host import Host as Host
from bioviz_core.errors import CheckpointError, IncompatibleError
from bioviz_core.interfaces import (
    Batch,
    Framework,
    HasObjective,
    Model,
    Objective,
    Refusal,
    Step,
    Synapse,
    Tree,
)

LONGEST_REPR = 2000
"""Characters of a model's repr, about a terminal's page."""

# A module as a model


class TorchModel(nn.Module):
    """An `nn.Module` that is a `Model`: inherit it, write `forward`, add capabilities."""

    framework: Framework = "torch"
    objective: Objective | None = None

    def activations(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """Responses by submodule name, in order of computation: copies, evaluation mode.

        A module that runs twice appears as `relu` and `relu#2`. Of a tuple the first tensor is
        taken. A container that hands on its last child's response unchanged is not listed again.
        """
        return record(self, inputs, of=self)

    def state_tree(self) -> Tree:
        """Copies of parameters and buffers, by name."""
        state = self.state_dict()
        return {n: v.detach().clone() if isinstance(v, Tensor) else v for n, v in state.items()}

    def with_state(self, state: Tree, /) -> Self:
        """Refill in place, since an optimiser holds the parameters; `CheckpointError` on a misfit.

        Names, shapes and dtypes must be those of `state_tree`: nothing is cast silently.
        """
        mine = self.state_dict()
        if wrong := sorted(mine.keys() ^ state.keys()):
            raise CheckpointError(
                f"the state and {type(self).__name__} do not share the entries {', '.join(wrong)}"
            )
        tensors = {n: torch.as_tensor(state[n]) for n, v in mine.items() if isinstance(v, Tensor)}
        for name, value in tensors.items():
            check_like(value, mine[name], path=name)
        self.load_state_dict({**state, **tensors})
        return self

    def __repr__(self) -> str:
        """Torch's tree of modules; where it is long, only the parts and their sizes."""
        whole = super().__repr__()
        sizes = {n: sum(p.numel() for p in m.parameters()) for n, m in self.named_children()}
        parts = [f"  ({n}): {size:,} parameters" for n, size in sizes.items()]
        short = "\n".join([f"{type(self).__name__}(", *parts, ")"])
        return whole if len(whole) <= LONGEST_REPR else short


class AdaptedModel(TorchModel):
    """Somebody's module as a `Model`; names are those that the module itself uses."""

    def __init__(self, module: nn.Module, objective: Objective | None = None) -> None:
        super().__init__()
        self.module = module
        self.objective = objective

    def forward(self, *args: Any, **options: Any) -> Any:
        """What the module answers."""
        return self.module(*args, **options)

    def activations(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """As `TorchModel.activations`, with the module's own names."""
        return record(self, inputs, of=self.module)


class SequentialModel(AdaptedModel):
    """An `nn.Sequential` as a `Model` that is also `Layered` and `Synaptic`."""

    def stages(self) -> list[tuple[str, nn.Module]]:
        """The layers in order; composed they are the call. A layer used twice comes twice."""
        return [(key, module) for key, module in self.module._modules.items() if module is not None]

    def synapses(self, inputs: Tensor, /) -> dict[str, Synapse]:
        """The weight of each `nn.Linear`, with the activity at its ends.

        `post` is what the layers behind the weight make of its output, up to the next weight and
        as long as its shape stays `(batch, out)`: after `Linear, ReLU` it is the rectified rate.
        """
        found: dict[str, Synapse] = {}
        with quiet(self):
            activity, open_name = inputs, None
            for name, module in self.stages():
                before, activity = activity, module(activity)
                if isinstance(module, nn.Linear):
                    pre, open_name = before.reshape(-1, module.in_features).clone(), name
                    post = activity.reshape(-1, module.out_features)
                    found[name] = Synapse(pre, post.clone(), module.weight.detach().clone())
                elif open_name and activity.shape == found[open_name].post.shape:
                    found[open_name] = found[open_name]._replace(post=activity.clone())
                else:
                    open_name = None
        return found

    def nudge(self, deltas: Mapping[str, Tensor], /) -> Self:
        """Add `deltas` to the weights of the same names, in place."""
        weights = {n: m.weight for n, m in self.stages() if isinstance(m, nn.Linear)}
        if unknown := sorted(deltas.keys() - weights.keys()):
            raise ValueError(f"no weight is called {unknown}; there are {list(weights)}")
        with torch.no_grad():
            for name, delta in deltas.items():
                weights[name].add_(delta.to(weights[name]))
        return self


def as_model(module: nn.Module, objective: Objective | None = None) -> AdaptedModel:
    """Anybody's module as a `Model`; an `nn.Sequential` becomes `Layered` and `Synaptic` too."""
    adapted = SequentialModel if isinstance(module, nn.Sequential) else AdaptedModel
    return adapted(module, objective)


@runtime_checkable
class Layered(Model, Protocol):
    """A torch model that is a chain of stages."""

    def stages(self) -> Sequence[tuple[str, nn.Module]]:
        """Named stages, deterministic in evaluation mode, which compose to the call."""


def record(model: nn.Module, inputs: Tensor, *, of: nn.Module) -> dict[str, Tensor]:
    """Responses of the submodules `of` while `model` answers `inputs`; as `activations`."""
    found: dict[str, Tensor] = {}
    names: dict[str, int] = {}
    last: list[Tensor | None] = [None]

    def hook(name: str, has_children: bool) -> Callable[..., None]:
        def keep(_: nn.Module, __: object, output: object) -> None:
            if isinstance(output, tuple | list):
                output = next((part for part in output if isinstance(part, Tensor)), None)
            if isinstance(output, Tensor) and not (has_children and output is last[0]):
                # A copy: an in-place ReLU behind this module would rewrite what was recorded.
                found[_numbered(name, names)] = output.detach().clone()
                last[0] = output

        return keep

    handles = [
        module.register_forward_hook(hook(name, any(module.children())))
        for name, module in of.named_modules()
        if name
    ]
    try:
        with quiet(model):
            model(inputs)
    finally:
        for handle in handles:
            handle.remove()
    return found


@contextmanager
def quiet(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; each submodule's own mode is back afterwards."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module, training in modes:
            module.training = training


def _numbered(name: str, seen: dict[str, int]) -> str:
    seen[name] = seen.get(name, 0) + 1
    return name if seen[name] == 1 else f"{name}#{seen[name]}"


# The gradient rule


class Backprop:
    """Gradient descent on the model's own objective, by autograd.

    `optimizer` is called with the trainable parameters: `partial(torch.optim.Adam, lr=1e-3)`.
    """

    framework: Framework | None = "torch"
    needs: tuple[type, ...] = (HasObjective,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def __init__(self, optimizer: Callable[[Iterable[nn.Parameter]], Optimizer]) -> None:
        self.optimizer = optimizer

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Optimizer:
        """The optimiser; `IncompatibleError` where the model has nothing to train."""
        del batch, seed
        trainable = [p for p in model.parameters() if p.requires_grad]
        if not trainable:
            why = f"{type(model).__name__} has no trainable parameters: all are frozen or absent"
            raise IncompatibleError([Refusal("model", "parameters", why)])
        return self.optimizer(trainable)

    def step(
        self, model: Any, batch: Batch, state: Optimizer, /, *, seed: int
    ) -> Step[Any, Optimizer]:
        """One step down the gradient of the objective."""
        del seed  # the host has seeded dropout
        if not model.training:
            model.train()
        state.zero_grad(set_to_none=True)
        loss = model.objective.loss(model(batch["inputs"]), batch)
        loss.backward()
        state.step()
        return Step(model, state, {"loss": loss.detach()})
