"""The converted network: bottom-up and top-down passes of somebody's module."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from bioviz_core.bridge.torch import TorchModel, record
from bioviz_core.interfaces import Objective, Refusal
from torch import Tensor, nn

from bioviz_butd import passes
from bioviz_butd.errors import DetachedError, MissingTraceError, UnsupportedOpError
from bioviz_butd.graph import Graph
from bioviz_butd.ops.op import Locality
from bioviz_butd.top_down_weights import TopDownWeights
from bioviz_butd.trace import Trace


class NodeLocality(NamedTuple):
    """What one node's update needs besides the two ends of its synapse."""

    name: str
    op: str
    locality: Locality


class Network(TorchModel):
    """A module with a top-down pass. `net.module` is the module, `net.td` its top-down weights.

        out = net(images)                          # bottom-up; detached, the trace is kept
        net.back_forward(output_error(...))        # top-down; the updates are in `.grad`

    It follows the training mode of its module. `net(x, autograd=True)` is the plain module.
    """

    def __init__(
        self, module: nn.Module, graphs: Mapping[bool, Graph], td: TopDownWeights | None,
        objective: Objective | None,
    ) -> None:  # fmt: skip
        super().__init__()
        self.module = module
        self.td = td
        self.objective = objective
        self._graphs = dict(graphs)
        self._trace: Trace | None = None

    @property
    def td_weights(self) -> str:
        """Whether the top-down pass has "separate" weights or those of the bottom-up one."""
        return "shared" if self.td is None else "separate"

    def forward(self, inputs: Tensor, /, *, autograd: bool = False) -> Tensor:
        """The bottom-up pass; its output has no autograd graph unless asked."""
        if autograd:
            output: Tensor = self.module(inputs)
            return output
        output, self._trace = self.bu(inputs)
        # Only where somebody could call `backward`; elsewhere a plain tensor is what it looks like.
        return output.as_subclass(_Activity) if torch.is_grad_enabled() else output

    def bu(self, inputs: Tensor, /) -> tuple[Tensor, Trace]:
        """The bottom-up pass with its trace handed out instead of kept."""
        if getattr(self, "_is_replica", False):
            raise UnsupportedOpError(
                ["DataParallel: activities would live on replicas that are thrown away; use one "
                 "process per device"],
                of=type(self.module).__name__,
            )  # fmt: skip
        with torch.no_grad():
            return passes.bottom_up(self._graphs[self.module.training], inputs)

    def top_down(
        self, signal: Tensor, /, *, trace: Trace | None = None, need_input: bool = False,
        allow_stale: bool = False, check_finite: bool = False,
    ) -> tuple[Tensor | None, dict[str, Tensor]]:  # fmt: skip
        """The top-down pass: the signal at the input if asked, and the updates by weight name.

        `signal` is the derivative of the loss by the output, of its shape, dtype and device.
        Updates are sums over the batch. Raises `MissingTraceError` before a bottom-up pass,
        `StaleTraceError` where weights have changed since, unless `allow_stale`.
        """
        trace = trace or self._trace
        if trace is None:
            raise MissingTraceError(
                "there is no bottom-up pass to answer: call net(inputs) first, or give the trace "
                "of net.bu(inputs)"
            )
        signal = signal.detach().as_subclass(Tensor)
        trace.check(signal, allow_stale=allow_stale)
        with torch.no_grad():
            return passes.top_down(
                trace, signal, feedback=self.feedback(), need_input=need_input,
                trainable=tuple([p.requires_grad for p in trace.graph.current()]),
                check_finite=check_finite,
            )  # fmt: skip

    def back_forward(
        self, signal: Tensor, /, *, trace: Trace | None = None, update: bool = True,
        update_td: bool = True, need_input: bool = False, allow_stale: bool = False,
        check_finite: bool = False,
    ) -> Tensor | None:  # fmt: skip
        """The top-down pass, its updates added to `.grad` as `backward` does.

        A separate top-down weight receives the update of its partner, since both join the same two
        cells. Other arguments and errors as in `top_down`.
        """
        down, updates = self.top_down(
            signal, trace=trace, need_input=need_input, allow_stale=allow_stale,
            check_finite=check_finite,
        )  # fmt: skip
        if update:
            td = self.feedback() if update_td else {}
            graph = (trace or self._trace).graph  # type: ignore[union-attr]  # top_down has asked
            for parameter, source in zip(graph.current(), graph.parameters, strict=True):
                if source.name not in updates:
                    continue
                value = updates[source.name]
                partner = td.get(source.name)
                if partner is not None and partner.requires_grad:
                    _accumulate(partner, value.clone())
                _accumulate(parameter, value)
        return down

    def feedback(self) -> dict[str, nn.Parameter]:
        """The separate top-down weights by the name of their partner; empty where shared."""
        return {} if self.td is None else self.td.by_name()

    def weight_pairs(self) -> dict[str, tuple[Tensor, Tensor]]:
        """Bottom-up and top-down weight by name, from the bottom up; with themselves if shared."""
        td = self.feedback()
        names = dict.fromkeys(n.weight for n in self._graphs[False].nodes if n.weight)
        weights = {s.name: s.owner._parameters[s.attribute] for s in self._graphs[False].parameters}
        return {name: (weights[name], td.get(name, weights[name])) for name in names}  # type: ignore[misc]  # they exist

    def locality_report(self) -> tuple[NodeLocality, ...]:
        """Every node's locality, from the bottom up; Counter-Hebb is claimed without "jacobian"."""
        return tuple(
            NodeLocality(node.name, type(node.op).__name__, node.op.locality)
            for node in self._graphs[self.module.training].nodes
        )

    def activations(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """Responses by the names of the module's own submodules: copies, evaluation mode."""
        return record(self.module, inputs, of=self.module)

    def __getstate__(self) -> dict[str, Any]:
        """Without activities: a copy starts with no bottom-up pass behind it."""
        return {**self.__dict__, "_trace": None}


class _Activity(Tensor):
    """The output of a bottom-up pass, which says why `backward` cannot work."""

    def backward(self, *args: Any, **options: Any) -> None:
        why = (
            "the output of a bottom-up pass is detached, so backward has nothing to follow: send "
            "the error down with net.back_forward, train by bioviz_butd.Backprop, or compute the "
            "output by net(inputs, autograd=True)"
        )
        raise DetachedError([Refusal("model", "autograd", why)])


def _accumulate(parameter: Tensor, update: Tensor) -> None:
    if update.dtype != parameter.dtype:
        update = update.to(parameter.dtype)
    if parameter.grad is None:
        parameter.grad = update if update.is_contiguous() else update.contiguous()
    else:
        parameter.grad += update
