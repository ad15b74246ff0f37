"""Linear operations that move, add, scale or average activities; scalars computed on the way."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from bioviz_butd.ops.op import Op, Signals, Wanted


class Scalar(Op):
    """A number, shape or truth value computed on the way up; nothing is sent down."""

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def bottom_up(self, *operands: Any) -> tuple[Any, Any]:
        """What the function gives."""
        return self.function(*operands), None


class Method(Op):
    """A number asked of a tensor, as `x.size(0)`."""

    def __init__(self, name: str) -> None:
        self.name = name

    def bottom_up(self, *operands: Any) -> tuple[Any, Any]:
        """What the method gives."""
        return getattr(operands[0], self.name)(*operands[1:]), None


class Store(Op):
    """A buffer that the network changes itself, as a count of batches."""

    def __init__(self, owner: nn.Module, attribute: str) -> None:
        self.owner, self.attribute = owner, attribute

    def bottom_up(self, value: Tensor) -> tuple[Tensor, Any]:
        """Write the value into the buffer."""
        return getattr(self.owner, self.attribute).copy_(value), None


class Reshape(Op):
    """Another shape of the same values: view, flatten, squeeze, ...; down, the shape before."""

    is_view = True

    def __init__(self, method: str) -> None:
        self.method = method

    def bottom_up(self, b: Tensor, *sizes: Any) -> tuple[Tensor, Any]:
        """The tensor's method of that name."""
        return getattr(b, self.method)(*sizes), b.shape

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The signal in the stored shape."""
        return (signal.reshape(kept), *[None] * (len(wanted) - 1))


class Permute(Op):
    """Another order of the dimensions; down, the inverse order."""

    is_view = True

    def __init__(self, dims: Sequence[int]) -> None:
        self.dims = tuple(dims)

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`b.permute(dims)`."""
        return b.permute(self.dims), None

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The inverse permutation."""
        n = len(self.dims)
        inverse = sorted(range(n), key=lambda i: self.dims[i] % n)
        return (signal.permute(inverse),)


class Transpose(Op):
    """Two dimensions exchanged; down, exchanged back."""

    is_view = True

    def __init__(self, first: int, second: int) -> None:
        self.dims = first, second

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`b.transpose(first, second)`."""
        return b.transpose(*self.dims), None

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The same exchange."""
        return (signal.transpose(*self.dims),)


class Piece(Op):
    """A part of the values: an index, or one of the parts of a chunk, split or unbind.

    Down, the signal returns to its place and the rest receives zeros.
    """

    is_view = True

    def __init__(self, pick: Callable[[Tensor], Tensor]) -> None:
        self.pick = pick

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """The part."""
        return self.pick(b), b.shape

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The signal in its place among zeros."""
        down = signal.new_zeros(kept)
        self.pick(down).copy_(signal)
        return (down,)


class Pick:
    """Takes a part of a tensor as a view: `x[index]`, or part `index` of `x.method(*settings)`."""

    def __init__(self, index: Any, method: str | None = None, *settings: Any) -> None:
        self.index, self.method, self.settings = index, method, settings

    def __call__(self, x: Tensor) -> Tensor:
        """The view."""
        return (x if self.method is None else getattr(x, self.method)(*self.settings))[self.index]


class Concatenate(Op):
    """Activities side by side; down, each receives its part of the signal."""

    def __init__(self, dim: int) -> None:
        self.dim = dim

    def bottom_up(self, *parts: Tensor) -> tuple[Tensor, Any]:
        """`torch.cat`."""
        return torch.cat(parts, self.dim), [part.shape[self.dim] for part in parts]

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The parts of the signal."""
        parts = torch.split(signal, kept, self.dim)
        return [part if want else None for part, want in zip(parts, wanted, strict=True)]


class Add(Op):
    """`a + scale b`; down, the same signal to both, summed over broadcast dimensions."""

    def __init__(self, scale: float = 1) -> None:
        self.scale = scale

    def bottom_up(self, a: Any, b: Any) -> tuple[Any, Any]:
        """Either may be a number."""
        return torch.add(a, b, alpha=self.scale) if self.scale != 1 else a + b, (
            getattr(a, "shape", None), getattr(b, "shape", None),
        )  # fmt: skip

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The signal, in the shape of each."""
        first = signal.sum_to_size(kept[0]) if wanted[0] else None
        if not wanted[1]:
            return first, None
        second = signal if self.scale == 1 else signal * self.scale
        return first, second.sum_to_size(kept[1])


class Scale(Op):
    """A constant multiple."""

    def bottom_up(self, b: Tensor, factor: Any) -> tuple[Tensor, Any]:
        """`b * factor`."""
        return b * factor, factor

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """`t * factor`."""
        return signal * kept, None


class Divide(Op):
    """Division by a number."""

    def bottom_up(self, b: Tensor, divisor: Any) -> tuple[Tensor, Any]:
        """`b / divisor`."""
        return b / divisor, divisor

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """`t / divisor`."""
        return signal / kept, None


class Reduce(Op):
    """Sum or mean over dimensions; down, spread evenly."""

    def __init__(self, kind: str, dims: Any, keeps: bool) -> None:
        self.kind, self.keeps = kind, keeps
        self.dims = (dims,) if isinstance(dims, int) else dims

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`b.mean(dims)` or `b.sum(dims)`."""
        dims = tuple(range(b.dim())) if self.dims in (None, (), []) else tuple(self.dims)
        value = (torch.mean if self.kind == "mean" else torch.sum)(b, dims, keepdim=self.keeps)
        return value, (b.shape, dims, max(1, b.numel() // max(1, value.numel())))

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """Evenly over what was averaged."""
        shape, dims, count = kept
        if not self.keeps:
            for dim in sorted(d % len(shape) for d in dims):
                signal = signal.unsqueeze(dim)
        signal = signal.expand(shape)
        return (signal / count if self.kind == "mean" else signal,)


def _reshape(method: str) -> Callable[..., Any]:
    def rule(build: Any, input: Any, *sizes: Any, **named: Any) -> Any:
        sizes = (*sizes, *named.values())
        if len(sizes) == 1 and isinstance(sizes[0], tuple | list):
            sizes = tuple(sizes[0])
        return build.add(Reshape(method), input, *sizes)

    return rule


def _flatten(build: Any, input: Any, start_dim: int = 0, end_dim: int = -1) -> Any:
    return build.add(Reshape("flatten"), input, start_dim, end_dim)


def _permute(build: Any, input: Any, *dims: Any) -> Any:
    return build.add(Permute(dims[0] if isinstance(dims[0], tuple | list) else dims), input)


def _transpose(build: Any, input: Any, dim0: int, dim1: int) -> Any:
    return build.add(Transpose(dim0, dim1), input)


def _index(build: Any, x: Any, index: Any) -> Any:
    if x.kind == "parts":
        return x.take(index)
    if x.kind == "scalar":
        return build.add(Scalar(operator.getitem), x, index)
    parts = index if isinstance(index, tuple) else (index,)
    if all(p is None or p is ... or isinstance(p, int | slice) for p in parts):
        return build.add(Piece(Pick(index)), x)
    return build.unsupported("an index that is computed or is a tensor")


def _parts(method: str) -> Callable[..., Any]:
    def rule(build: Any, input: Any, *settings: Any, **named: Any) -> Any:
        return build.parts(
            lambda index: build.add(
                Piece(Pick(index, method, *settings, *named.values())), input
            )
        )  # fmt: skip

    return rule


def _cat(build: Any, tensors: Any, dim: int = 0) -> Any:
    return build.add(Concatenate(dim), *tensors)


def _stack(build: Any, tensors: Any, dim: int = 0) -> Any:
    return _cat(build, [build.add(Reshape("unsqueeze"), t, dim) for t in tensors], dim)


def _add(build: Any, input: Any, other: Any, alpha: float = 1) -> Any:
    if build.scalars(input, other):
        return build.add(Scalar(operator.add), input, other)
    return build.add(Add(alpha), input, other)


def _sub(build: Any, input: Any, other: Any, alpha: float = 1) -> Any:
    if build.scalars(input, other):
        return build.add(Scalar(operator.sub), input, other)
    if build.scalars(input):
        return build.add(Add(), build.add(Scale(), other, -alpha), input)
    if build.scalars(other):
        return build.add(Add(), input, build.add(Scalar(operator.mul), other, -alpha))
    return build.add(Add(-alpha), input, other)


def _divide(build: Any, input: Any, other: Any) -> Any:
    if build.scalars(input, other):
        return build.add(Scalar(operator.truediv), input, other)
    if build.scalars(other):
        return build.add(Divide(), input, other)
    return build.unsupported("division by an activity")


def _negative(build: Any, input: Any) -> Any:
    if build.scalars(input):
        return build.add(Scalar(operator.neg), input)
    return build.add(Scale(), input, -1)


def _reduce(kind: str) -> Callable[..., Any]:
    def rule(build: Any, input: Any, dim: Any = None, keepdim: bool = False, *more: Any) -> Any:
        dims = (dim, keepdim, *more) if type(keepdim) is int else dim
        return build.add(Reduce(kind, dims, keepdim is True), input)

    return rule


def _scalar(function: Callable[..., Any]) -> Callable[..., Any]:
    def rule(build: Any, *operands: Any) -> Any:
        if function is getattr or build.scalars(*operands):
            return build.add(Scalar(function), *operands)
        return build.unsupported(f"{function.__name__} of activities")

    return rule


_SCALAR_FUNCTIONS = (
    getattr, torch._assert, operator.floordiv, operator.mod, operator.eq, operator.ne, operator.lt,
    operator.le, operator.gt, operator.ge, operator.pow, operator.and_, operator.or_,
)  # fmt: skip

RULES: dict[Any, Callable[..., Any]] = {
    nn.Identity: lambda build, module, x: x,
    nn.Flatten: lambda build, m, x: _flatten(build, x, m.start_dim, m.end_dim),
    nn.Unflatten: lambda build, m, x: build.add(
        Reshape("unflatten"), x, m.dim, tuple(m.unflattened_size)
    ),
    torch.flatten: _flatten,
    "flatten": _flatten,
    **{
        place: _reshape(method)
        for method in ("reshape", "squeeze", "unsqueeze", "unflatten")
        for place in (getattr(torch, method), method)
    },
    "view": _reshape("view"),
    "contiguous": lambda build, input: build.add(Reshape("contiguous"), input),
    "clone": lambda build, input: build.add(Reshape("clone"), input),
    torch.clone: lambda build, input: build.add(Reshape("clone"), input),
    torch.permute: _permute,
    "permute": _permute,
    torch.transpose: _transpose,
    "transpose": _transpose,
    "t": lambda build, input: _transpose(build, input, 0, 1),
    operator.getitem: _index,
    **{
        place: _parts(method)
        for method in ("chunk", "split", "unbind")
        for place in (getattr(torch, method), method)
    },
    torch.cat: _cat,
    torch.concat: _cat,
    torch.stack: _stack,
    **dict.fromkeys((operator.add, operator.iadd, torch.add, "add", "add_"), _add),
    **dict.fromkeys((operator.sub, operator.isub, torch.sub, "sub", "sub_"), _sub),
    **dict.fromkeys((operator.truediv, operator.itruediv, torch.div, "div", "div_"), _divide),
    **dict.fromkeys((operator.neg, torch.neg, "neg"), _negative),
    **{
        place: _reduce(kind)
        for kind in ("mean", "sum")
        for place in (getattr(torch, kind), kind)
    },
    **{function: _scalar(function) for function in _SCALAR_FUNCTIONS},
    **{
        name: lambda build, x, *rest, name=name: build.add(Method(name), x, *rest)
        for name in ("size", "dim", "numel", "ndimension")
    },
}  # fmt: skip
