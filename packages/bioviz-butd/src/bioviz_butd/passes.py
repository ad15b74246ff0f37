"""The two passes: images up through the plan, a signal down through the same ops."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bioviz_butd.graph import Graph
from bioviz_butd.trace import Trace


def bottom_up(graph: Graph, inputs: Tensor) -> tuple[Tensor, Trace]:
    """Run the plan; the output and the activities, none of which has an autograd graph."""
    values = graph.values()
    values[graph.input] = inputs
    parameters = graph.current()
    mixed = torch.is_autocast_enabled(inputs.device.type)
    dtypes = [getattr(value, "dtype", None) for value in values] if mixed else None
    kept: list[Any] = []
    for node in graph.nodes:
        value, activity = node.op.bottom_up(*[values[slot] for slot in node.inputs])
        kept.append(activity)
        values[node.output] = value
        if dtypes is not None:
            dtypes[node.output] = getattr(value, "dtype", None)
        for slot in node.frees:
            values[slot] = None
    output = values[graph.output]
    return output, Trace(graph, kept, inputs, output, parameters, dtypes)


def top_down(
    trace: Trace, signal: Tensor, *, feedback: Mapping[str, Tensor], trainable: tuple[bool, ...],
    need_input: bool = False, check_finite: bool = False,
) -> tuple[Tensor | None, dict[str, Tensor]]:  # fmt: skip
    """Send a signal down; the signal at the input, and the update of each trainable parameter.

    Signals that meet at a value are summed. `feedback` are the separate top-down weights by the
    name of the weight that they stand in for. Updates are sums over the batch, in the order that
    autograd sums in, so the same kernels give the same bits.
    """
    graph = trace.graph
    signals: list[Tensor | None] = [None] * graph.size
    signals[graph.output] = signal
    for place, op, wanted, inputs, output, weight in graph.way_down(trainable, need_input):
        t = signals[output]
        if t is None:
            continue
        signals[output] = None
        if check_finite and not torch.isfinite(t).all():
            name = graph.nodes[place].name
            raise FloatingPointError(f"the counter signal at the output of {name} is not finite")
        if weight in feedback:
            down = op.top_down(trace.kept[place], t, wanted, feedback[weight])  # type: ignore[call-arg, index]  # ops with a weight
        else:
            down = op.top_down(trace.kept[place], t, wanted)
        for slot, part in zip(inputs, down, strict=True):
            if part is None:
                continue
            if trace.dtypes is not None and part.dtype != trace.dtypes[slot]:
                part = part.to(trace.dtypes[slot])
            met = signals[slot]
            signals[slot] = part if met is None else met + part
    updates = {
        source.name: update
        for source in graph.parameters
        if (update := signals[source.slot]) is not None
    }
    return signals[graph.input] if need_input else None, updates
