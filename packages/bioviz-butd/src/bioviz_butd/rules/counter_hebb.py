"""Counter-Hebb learning: each synapse changes by the activities at its two ends."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, Protocol, runtime_checkable

from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Batch, Framework, HasObjective, Refusal, Step
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

from bioviz_butd.objectives import output_error

OptimizerOf = Callable[[list[nn.Parameter]], Optimizer]
SchedulerOf = Callable[[Optimizer], LRScheduler]
State = dict[str, Any]


@runtime_checkable
class BackForward(HasObjective, Protocol):
    """A model with a bottom-up pass that leaves a trace, and a top-down pass that answers it."""

    td_weights: str

    def bu(self, inputs: Tensor, /) -> tuple[Tensor, Any]:
        """Output and trace of a bottom-up pass."""

    def back_forward(
        self, signal: Tensor, /, *, trace: Any = None, update_td: bool = True
    ) -> Tensor | None:
        """Send a signal down and add the updates to `.grad`."""

    def parameters(self) -> Any:
        """Everything that may be trained."""

    def feedback(self) -> dict[str, nn.Parameter]:
        """Separate top-down weights by the name of their partner."""


class CounterHebb:
    """Learning by a bottom-up pass, the error sent top-down, and the product of the two activities.

    For a weight `W` with activity `b` at its input and counter activity `t` at its output the
    update is `sum t b^T` over the batch. Where the network's top-down weights are shared, `t` is
    the derivative of the loss and the update is its gradient. Where they are separate both receive
    this update, and with decay `(1 - eta lambda)` per step they converge, whatever the data: use an
    optimiser whose decay is decoupled (AdamW) or plain SGD, since Adam's coupled decay breaks this.

    `optimizer` makes one from the parameters: `partial(torch.optim.AdamW, lr=1e-3)`. Without one
    the updates are left in `.grad`. `scheduler` makes a scheduler of its learning rate, which moves
    after each step. `td` demands "shared" or "separate" weights of the network.
    No autograd runs where the objective has a closed form (`bioviz_butd.cross_entropy`).
    """

    framework: Framework | None = "torch"
    needs: tuple[type, ...] = (BackForward,)
    reads: tuple[str, ...] = ("inputs",)
    sharded = True

    def __init__(
        self, optimizer: OptimizerOf | None = None, *, scheduler: SchedulerOf | None = None,
        td: Literal["shared", "separate"] | None = None,
    ) -> None:  # fmt: skip
        self.optimizer, self.scheduler = optimizer, scheduler
        self.td = td

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> State:
        """The optimiser, over bottom-up and top-down weights."""
        del batch, seed
        if self.td is not None and self.td != model.td_weights:
            why = (
                f"{type(self).__name__} needs {self.td} top-down weights, the network has "
                f'{model.td_weights} ones: convert(..., td_weights="{self.td}")'
            )
            raise IncompatibleError([Refusal("model", "td_weights", why)])
        return optimizer_state(self, list(model.parameters()), model)

    def step(self, model: Any, batch: Batch, state: State, /, *, seed: int) -> Step[Any, State]:
        """Bottom-up, error, top-down, optimiser."""
        del seed  # dropout draws from the global generator, which the host has seeded
        return counter_step(model, batch, state, update_td=True)


def counter_step(model: Any, batch: Batch, state: State, *, update_td: bool) -> Step[Any, State]:
    """One step of learning; a separate top-down weight is updated on request."""
    if not model.training:
        model.train()
    optimizer = state.get("optimizer")
    if optimizer is not None:
        optimizer.zero_grad(set_to_none=True)
    outputs, trace = model.bu(batch["inputs"])
    loss, error = output_error(model.objective, outputs, batch)
    model.back_forward(error, trace=trace, update_td=update_td)
    advance(state)
    return Step(model, state, {"loss": loss})


def advance(state: State) -> None:
    """Let the optimiser step, and the scheduler after it."""
    for mover in state.values():
        mover.step()


def optimizer_state(rule: Any, parameters: list[nn.Parameter], model: object) -> State:
    """The state of a rule that owns an optimiser; refuses a model with nothing to train."""
    trainable = [p for p in parameters if p.requires_grad]
    if not trainable:
        why = f"{type(model).__name__} has no trainable parameters: all are frozen or absent"
        raise IncompatibleError([Refusal("model", "parameters", why)])
    if rule.optimizer is None:
        return {}
    optimizer = rule.optimizer(trainable)
    scheduler = {"scheduler": rule.scheduler(optimizer)} if rule.scheduler else {}
    return {"optimizer": optimizer, **scheduler}
