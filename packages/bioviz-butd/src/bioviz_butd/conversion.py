"""Somebody's module becomes a network with a top-down pass, or a list of what stands in the way."""

from __future__ import annotations

import inspect
import operator
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import torch
from bioviz_core.interfaces import Objective
from torch import Tensor, fx, nn
from torch.func import functional_call

from bioviz_butd.errors import UnsupportedOpError
from bioviz_butd.graph import Builder, Graph, Slot
from bioviz_butd.network import Network
from bioviz_butd.ops import rule_of_call, rule_of_module
from bioviz_butd.ops.local_vjp import LocalVJP
from bioviz_butd.ops.norm import NormMode
from bioviz_butd.ops.shape import Scalar, Store
from bioviz_butd.top_down_weights import TDInit, TDWeights, TopDownWeights

Unsupported = Literal["error", "local_vjp"]


def convert(
    module: nn.Module, *, td_weights: TDWeights = "shared", td_init: TDInit = "independent",
    seed: int = 0, objective: Objective | None = None, batch_norm: NormMode = "exact",
    unsupported: Unsupported = "error",
) -> Network:  # fmt: skip
    """`module` with a top-down pass; it stays what it is, under `net.module`.

    With `td_weights="separate"` each Linear and convolution gets a top-down weight, drawn from
    `seed` as `td_init` says (`TopDownWeights`). `batch_norm="frozen"` takes the batch's statistics
    as constants on the way down, which is local to a sample but not the gradient. An operation
    without a rule raises `UnsupportedOpError`, which lists them all, or uses its own Jacobian with
    `unsupported="local_vjp"`.
    """
    _check_parameters(module)
    with _modes_kept(module):
        graphs = {
            training: _trace(module.train(training), batch_norm, unsupported)
            for training in (True, False)
        }
    nodes = [*graphs[True].nodes, *graphs[False].nodes]
    if any(isinstance(node.op, LocalVJP) for node in nodes):
        names = dict.fromkeys(node.name for node in nodes if isinstance(node.op, LocalVJP))
        warnings.warn(
            f"{', '.join(names)} of {type(module).__name__} send their signal through their own "
            "Jacobian: no local rule is claimed for this network",
            stacklevel=2,
        )
    td = None
    if td_weights == "separate":
        td = _separate(module, nodes, td_init, seed)
    elif td_weights != "shared":
        raise ValueError(f"td_weights is {td_weights!r}; it must be 'shared' or 'separate'")
    return Network(module, graphs, td, objective)


def _separate(module: nn.Module, nodes: Any, init: TDInit, seed: int) -> TopDownWeights:
    computed = dict.fromkeys(
        f"{n.name}: its weight is computed, so no top-down weight can stand in for it"
        for n in nodes
        if n.op.weight is not None and n.weight is None
    )
    if computed:
        raise UnsupportedOpError(tuple(computed), of=type(module).__name__)
    names = dict.fromkeys(node.weight for node in nodes if node.weight)
    weights = {name: module.get_parameter(name) for name in names}
    return TopDownWeights(weights, init=init, seed=seed)


def _check_parameters(module: nn.Module) -> None:
    problems = []
    if isinstance(module, nn.DataParallel | nn.parallel.DistributedDataParallel):
        problems.append(f"{type(module).__name__}: convert the module inside, not its wrapper")
    for name, tensor in [*module.named_parameters(), *module.named_buffers()]:
        if tensor.is_complex() or tensor.layout != torch.strided or tensor.is_quantized:
            problems.append(f"{name}: complex, sparse and quantised tensors are not supported")
    for name, part in module.named_modules():
        if part._forward_hooks or part._forward_pre_hooks:
            problems.append(f"{name or 'the module'}: forward hooks would not run; remove them")
        if any(map(nn.parameter.is_lazy, part.parameters(recurse=False))):
            problems.append(f"{name}: a lazy module; run it once before")
    if problems:
        raise UnsupportedOpError(problems, of=type(module).__name__)


@contextmanager
def _modes_kept(module: nn.Module) -> Iterator[None]:
    modes = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


def _trace(module: nn.Module, batch_norm: NormMode, unsupported: Unsupported) -> Graph:
    name = type(module).__name__
    try:
        traced = _Tracer().trace(_Root(module))
    except (fx.proxy.TraceError, TypeError, RuntimeError, NotImplementedError) as error:
        line = _line(reversed(list(traceback.walk_tb(error.__traceback__))))
        raise UnsupportedOpError(
            [
                f"{error}{line}. Data must not decide what is computed; write this part as a "
                "module of its own and give it a rule"
            ],
            of=name,
        ) from error
    reader = _Reader(module, batch_norm, unsupported)
    graph = reader.read(traced)
    if reader.build.problems:
        raise UnsupportedOpError(reader.build.problems, of=name)
    return graph


class _Root(nn.Module):
    """Calls the module with its inputs alone, so that its other arguments keep their defaults."""

    def __init__(self, net: nn.Module) -> None:
        super().__init__()
        self.net = net

    def forward(self, x: Tensor) -> Any:
        return self.net(x)


class _Proxy(fx.Proxy):
    """Records `x += y` as what it is: other names of x see the sum too."""

    def __iadd__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.iadd, (self, other), {})

    def __isub__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.isub, (self, other), {})

    def __imul__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.imul, (self, other), {})

    def __itruediv__(self, other: Any) -> Any:
        return self.tracer.create_proxy("call_function", operator.itruediv, (self, other), {})


class _Tracer(fx.Tracer):
    """Walks through composite modules and stops at those with a rule."""

    def __init__(self) -> None:
        super().__init__()
        # Else a module that counts its batches would do so while it is traced.
        self.proxy_buffer_attributes = True

    def create_node(self, *args: Any, **options: Any) -> fx.Node:
        node = super().create_node(*args, **options)
        # fx can record this too, but imports the compiler for it: half of a conversion's time.
        node.meta["line"] = _line(traceback.walk_stack(None))
        return node

    def proxy(self, node: fx.Node) -> fx.Proxy:
        return _Proxy(node, self)

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        if rule_of_module(m) is not None:
            return True
        own = type(m).__module__.startswith("torch.nn.")
        return own and not isinstance(m, nn.Sequential)


class _Reader:
    """Turns a traced module into a plan."""

    def __init__(self, module: nn.Module, batch_norm: NormMode, unsupported: Unsupported) -> None:
        self.root = _Root(module)
        self.build = Builder(module, batch_norm=batch_norm)
        self.unsupported = unsupported
        self.env: dict[fx.Node, Any] = {}

    def read(self, traced: fx.Graph) -> Graph:
        """The plan of a traced module."""
        output = None
        for node in traced.nodes:
            self.build.name = str(node.name)
            self.build.place = node.meta["line"]
            if node.op == "placeholder":
                self.env[node] = self.build.input
            elif node.op == "output":
                output = self._value(node.args[0])
            else:
                self.env[node] = self._read(node)
                if mutated := _mutated(node, self.root):
                    self._rebind(mutated, node)
        if not isinstance(output, Slot) or output.kind != "tensor":
            self.build.name = "the output"
            output = self.build.unsupported("must be one tensor")
        return self.build.graph(output)

    def _read(self, node: fx.Node) -> Any:
        arguments = [self._value(a) for a in node.args]
        options = {key: self._value(value) for key, value in node.kwargs.items()}
        if node.op == "get_attr":
            return self._attribute(str(node.target))
        if node.op == "call_module":
            module = self.root.get_submodule(str(node.target))
            self.build.name = str(node.target).removeprefix("net").removeprefix(".") or "module"
            rule = rule_of_module(module)
            if rule is not None:
                return self._apply(rule, [module, *arguments], options)
            return self._without_rule(type(module).__name__, module, arguments, options)
        rule = rule_of_call(node.target)
        if rule is not None:
            return self._apply(rule, arguments, options)
        if self.build.scalars(*arguments) and node.op == "call_function":
            return _scalar(self.build, node.target, arguments, options)
        name = getattr(node.target, "__name__", str(node.target))
        return self._without_rule(name, node.target, arguments, options)

    def _apply(self, rule: Callable[..., Any], arguments: Any, options: Any) -> Any:
        try:
            return rule(self.build, *arguments, **options)
        except TypeError as error:  # the call has arguments that the rule does not know
            return self.build.unsupported(str(error))

    def _without_rule(self, name: str, target: Any, arguments: Any, options: Any) -> Any:
        if self.unsupported != "local_vjp" or any(
            isinstance(value, Slot) for value in options.values()
        ):
            return self.build.unsupported(f"{name} has no rule")
        if isinstance(target, nn.Module):
            names = list(dict(target.named_parameters()))
            owners = [_owner(target, n) for n in names]
            weights = [self.build.parameter(owner, leaf) for owner, leaf in owners]
            call: Callable[..., Any] = _ModuleCall(target, names, options)
            return self.build.add(LocalVJP(call), *arguments, *weights)
        if isinstance(target, str):
            call = _MethodCall(target, options)
        else:
            call = _FunctionCall(target, options)
        return self.build.add(LocalVJP(call), *arguments)

    def _attribute(self, path: str) -> Any:
        owner, leaf = _owner(self.root, path)
        value = getattr(owner, leaf)
        if isinstance(value, nn.Parameter):
            return self.build.parameter(owner, leaf)
        return self.build.buffer(owner, leaf) if isinstance(value, Tensor) else value

    def _value(self, argument: Any) -> Any:
        return fx.node.map_arg(argument, lambda n: self.env[n])

    def _rebind(self, mutated: fx.Node, node: fx.Node) -> None:
        """An in-place step runs out of place, so other names of the old value take the new one."""
        old, new = self.env[mutated], self.env[node]
        if not isinstance(old, Slot):
            return
        if (buffer := self.build.buffer_at(old)) is not None:
            self.build.add(Store(buffer.owner, buffer.attribute), new)
        origin = self.build.origin.get(old.index, old.index)
        for other, value in self.env.items():
            if other is node or not isinstance(value, Slot):
                continue
            if value == old:
                self.env[other] = new
            elif self.build.origin.get(value.index, value.index) == origin and any(
                user > node for user in other.users
            ):
                self.build.unsupported(
                    "changes memory in place that a view of it, used later, shares"
                )


class _FunctionCall:
    """A call with its fixed options."""

    def __init__(self, target: Any, options: dict[str, Any]) -> None:
        self.target, self.options = target, options

    def __call__(self, *operands: Any) -> Any:
        return self.target(*operands, **self.options)


class _MethodCall(_FunctionCall):
    """A tensor's method with its fixed options."""

    def __call__(self, x: Tensor, *operands: Any) -> Any:
        return getattr(x, str(self.target))(*operands, **self.options)


class _ModuleCall:
    """A module as a function of its inputs and parameters."""

    def __init__(self, module: nn.Module, names: list[str], options: dict[str, Any]) -> None:
        self.module, self.names, self.options = module, names, options

    def __call__(self, *operands: Any) -> Any:
        count = len(operands) - len(self.names)
        weights = dict(zip(self.names, operands[count:], strict=True))
        return functional_call(self.module, weights, operands[:count], self.options)


def _scalar(build: Builder, target: Any, arguments: list[Any], options: dict[str, Any]) -> Any:
    return build.add(Scalar(_FunctionCall(target, options)), *arguments)


def _owner(root: nn.Module, path: str) -> tuple[nn.Module, str]:
    prefix, _, leaf = path.rpartition(".")
    return root.get_submodule(prefix), leaf


def _mutated(node: fx.Node, root: nn.Module) -> fx.Node | None:
    """The value that a step changes in place, if it does."""
    if not node.args or not isinstance(node.args[0], fx.Node):
        return None
    if node.op == "call_module":
        changes = getattr(root.get_submodule(str(node.target)), "inplace", False)
    elif node.op == "call_method":
        changes = str(node.target).endswith("_")
    elif node.target in (operator.iadd, operator.isub, operator.imul, operator.itruediv):
        changes = True
    else:
        changes = getattr(node.target, "__name__", "").endswith("_") or _asks_in_place(node)
    return node.args[0] if changes else None


def _asks_in_place(node: fx.Node) -> bool:
    if "inplace" in node.kwargs:
        return bool(node.kwargs["inplace"])
    try:
        bound = inspect.signature(node.target).bind(*node.args, **node.kwargs)  # type: ignore[arg-type]  # a function here
    except (TypeError, ValueError):
        return False
    return bool(bound.arguments.get("inplace", False))


def _line(frames: Iterable[tuple[FrameType, int]]) -> str:
    """The innermost line, given first, outside torch and this package."""
    own = (str(Path(torch.__file__).parent), __file__)
    for frame, line in frames:
        file = frame.f_code.co_filename
        if not file.startswith(own):
            return f' (File "{file}", line {line}, in {frame.f_code.co_name})'
    return ""
