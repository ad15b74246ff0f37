"""The traced plan: what a network computes, in order, as ops over numbered slots."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from torch import Tensor, nn

from bioviz_butd.ops.norm import NormMode
from bioviz_butd.ops.op import Op
from bioviz_butd.ops.shape import Method, Scalar, Store


@dataclass(frozen=True, slots=True)
class Slot:
    """The place of a value while a plan is built."""

    index: int
    kind: Literal["tensor", "scalar"] = "tensor"


@dataclass(frozen=True, slots=True)
class Parts:
    """Several values of one operation, each added when it is taken."""

    take: Callable[[int], Slot]
    kind: Literal["parts"] = "parts"


@dataclass(frozen=True, slots=True)
class Node:
    """One operation: its op, the slots it reads and writes, and those nobody reads after it."""

    name: str
    op: Op
    inputs: tuple[int, ...]
    output: int
    frees: tuple[int, ...] = ()
    weight: str | None = None


class Source(NamedTuple):
    """A parameter or buffer that a plan reads at each pass from the module that owns it."""

    slot: int
    owner: nn.Module
    attribute: str
    name: str


class Stage(NamedTuple):
    """One node on the way down: its place among the nodes, and which operands want a signal."""

    place: int
    op: Op
    wanted: tuple[bool, ...]
    inputs: tuple[int, ...]
    output: int
    weight: str | None


@dataclass
class Graph:
    """A plan: nodes in order, the values they start from, and the way down for each demand."""

    nodes: tuple[Node, ...]
    parameters: tuple[Source, ...]
    buffers: tuple[Source, ...]
    constants: Mapping[int, Any]
    input: int
    output: int
    size: int
    _ways: dict[Any, tuple[Stage, ...]] = field(default_factory=dict)

    def values(self) -> list[Any]:
        """Slots with constants, parameters and buffers filled in."""
        values: list[Any] = [None] * self.size
        for slot, constant in self.constants.items():
            values[slot] = constant
        for slot, owner, attribute, _ in self.parameters:
            values[slot] = owner._parameters[attribute]
        for slot, owner, attribute, _ in self.buffers:
            values[slot] = getattr(owner, attribute)
        return values

    def current(self) -> list[Tensor]:
        """The parameters as they are now."""
        return [source.owner._parameters[source.attribute] for source in self.parameters]  # type: ignore[misc]  # absent ones are no sources

    def way_down(self, trainable: tuple[bool, ...], need_input: bool) -> tuple[Stage, ...]:
        """The nodes that a signal must pass, from the top: none below the lowest one needed."""
        key = trainable, need_input
        if key not in self._ways:
            self._ways[key] = self._way_down(trainable, need_input)
        return self._ways[key]

    def _way_down(self, trainable: tuple[bool, ...], need_input: bool) -> tuple[Stage, ...]:
        needed = {s.slot for s, train in zip(self.parameters, trainable, strict=True) if train}
        if need_input:
            needed.add(self.input)
        for node in self.nodes:
            if not isinstance(node.op, Scalar | Method | Store) and needed.intersection(
                node.inputs
            ):
                needed.add(node.output)
        reached = {self.output}
        stages = []
        for place in range(len(self.nodes) - 1, -1, -1):
            node = self.nodes[place]
            if node.output in reached and node.output in needed:
                wanted = tuple(slot in needed for slot in node.inputs)
                reached.update(s for s, want in zip(node.inputs, wanted, strict=True) if want)
                stages.append(
                    Stage(place, node.op, wanted, node.inputs, node.output, node.weight)
                )  # fmt: skip
        return tuple(stages)


class Builder:
    """Collects the steps of a plan while a traced module is read; rules of ops talk to it."""

    def __init__(self, root: nn.Module, *, batch_norm: NormMode = "exact") -> None:
        self.batch_norm = batch_norm
        self.problems: list[str] = []
        self.place, self.name = "", ""
        self.origin: dict[int, int] = {}  # by slot, the slot whose memory it may share
        self._names = {id(p): n for n, p in root.named_parameters()}
        self._paths = {id(m): n for n, m in root.named_modules()}
        self._nodes: list[Node] = []
        self._sources: dict[int, Slot] = {}
        self._parameters: list[Source] = []
        self._buffers: list[Source] = []
        self._constants: dict[int, Any] = {}
        self._seen: dict[str, int] = {}
        self._size = 0
        self.input = self._slot()

    def add(self, op: Op, *operands: Any) -> Any:
        """Add a step; operands are slots or constants. A step of constants alone is a constant."""
        scalar = isinstance(op, Scalar | Method)
        if scalar and not any(isinstance(x, Slot) for x in operands):
            return op.bottom_up(*operands)[0]
        for operand in operands:
            if isinstance(operand, Parts):
                return self.unsupported("an operation on several values at once")
            if isinstance(operand, tuple | list | slice) and _holds_slot(operand):
                return self.unsupported("computed values inside a sequence")
        slots = [x if isinstance(x, Slot) else self._constant(x) for x in operands]
        output = self._slot("scalar" if scalar else "tensor")
        if op.is_view:
            self.origin[output.index] = self.origin.get(slots[0].index, slots[0].index)
        weight = None
        if op.weight is not None:
            slot = slots[op.weight].index
            weight = next((s.name for s in self._parameters if s.slot == slot), None)
        self._nodes.append(
            Node(
                self._numbered(), op, tuple(s.index for s in slots), output.index, weight=weight
            )
        )  # fmt: skip
        return output

    def parameter(self, module: nn.Module, attribute: str) -> Slot | None:
        """A parameter as an operand; None where the module has none of that name."""
        if attribute not in module._parameters:
            self.unsupported(f"its {attribute} is computed by a parametrization")
            return None
        parameter = module._parameters[attribute]
        if parameter is None:
            return None
        if id(parameter) not in self._sources:
            slot = self._sources[id(parameter)] = self._slot()
            name = self._names[id(parameter)]
            self._parameters.append(Source(slot.index, module, attribute, name))
        return self._sources[id(parameter)]

    def buffer(self, module: nn.Module, attribute: str) -> Slot | None:
        """A buffer or other tensor of a module as an operand, read anew at each pass."""
        value = getattr(module, attribute)
        if value is None:
            return None
        if id(value) not in self._sources:
            slot = self._sources[id(value)] = self._slot()
            self._buffers.append(Source(slot.index, module, attribute, attribute))
        return self._sources[id(value)]

    def buffer_at(self, operand: Slot) -> Source | None:
        """The buffer that an operand is, if it is one."""
        return next((s for s in self._buffers if s.slot == operand.index), None)

    def parts(self, take: Callable[[int], Slot]) -> Parts:
        """Several values of one operation."""
        return Parts(take)

    def scalars(self, *operands: Any) -> bool:
        """Whether none of the operands is an activity."""
        return not any(isinstance(x, Slot | Parts) and x.kind != "scalar" for x in operands)

    def shape_of(self, operand: Slot) -> Sequence[int]:
        """The shape of a parameter."""
        for source in self._parameters:
            if source.slot == operand.index:
                return tuple(source.owner._parameters[source.attribute].shape)  # type: ignore[union-attr]  # sources exist
        self.unsupported("a weight that is computed")
        return ()

    def unsupported(self, what: str) -> Slot:
        """Note a problem and go on, so that all of them are found."""
        problem = f"{self.name}: {what}{self.place}"
        if problem not in self.problems:
            self.problems.append(problem)
        return self._slot()

    def graph(self, output: Slot) -> Graph:
        """The plan."""
        fixed = {s.slot for s in [*self._parameters, *self._buffers]} | self._constants.keys()
        last = {slot: place for place, node in enumerate(self._nodes) for slot in node.inputs}
        frees: dict[int, list[int]] = {}
        for slot, place in last.items():
            if slot not in fixed and slot != output.index:
                frees.setdefault(place, []).append(slot)
        for place, node in enumerate(self._nodes):
            if node.output not in last and node.output != output.index:
                frees.setdefault(place, []).append(node.output)
        nodes = tuple(
            Node(n.name, n.op, n.inputs, n.output, tuple(frees.get(place, ())), n.weight)
            for place, n in enumerate(self._nodes)
        )
        return Graph(
            nodes, tuple(self._parameters), tuple(self._buffers), self._constants,
            self.input.index, output.index, self._size,
        )  # fmt: skip

    def _slot(self, kind: Literal["tensor", "scalar"] = "tensor") -> Slot:
        self._size += 1
        return Slot(self._size - 1, kind)

    def _constant(self, value: Any) -> Slot:
        slot = self._slot("scalar")
        self._constants[slot.index] = value
        return slot

    def _numbered(self) -> str:
        count = self._seen[self.name] = self._seen.get(self.name, 0) + 1
        return self.name if count == 1 else f"{self.name}#{count}"


def _holds_slot(value: Any) -> bool:
    if isinstance(value, slice):
        return _holds_slot((value.start, value.stop, value.step))
    if isinstance(value, tuple | list):
        return any(map(_holds_slot, value))
    return isinstance(value, Slot | Parts)
