"""Pooling: the counter signal goes back to the winner, or evenly over the window."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioviz_butd.ops.op import Op, Signals, Wanted
from bioviz_butd.ops.shape import Reduce

aten = torch.ops.aten


class MaxPool2d(Op):
    """The largest of each window; down, the stored winner alone receives the signal."""

    def __init__(self, size: Any, stride: Any, padding: Any, dilation: Any, ceil: bool) -> None:
        self.size, self.stride = _pair(size), _pair(size if stride in (None, []) else stride)
        self.padding, self.dilation, self.ceil = _pair(padding), _pair(dilation), ceil

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`b` is `(batch, channels, height, width)`."""
        value, winners = torch._C._nn.max_pool2d_with_indices(
            b, self.size, self.stride, self.padding, self.dilation, self.ceil
        )
        return value, (b, winners)

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """To the winners."""
        b, winners = kept
        down = aten.max_pool2d_with_indices_backward.default(
            signal, b, self.size, self.stride, self.padding, self.dilation, self.ceil, winners
        )
        return (down,)


class AvgPool2d(Op):
    """The mean of each window; down, spread evenly."""

    def __init__(
        self, size: Any, stride: Any, padding: Any, ceil: bool, count_pad: bool, divisor: int | None
    ) -> None:
        self.size, self.stride = _pair(size), _pair(size if stride in (None, []) else stride)
        self.rest = (_pair(padding), ceil, count_pad, divisor)

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`b` is `(batch, channels, height, width)`."""
        return aten.avg_pool2d.default(b, self.size, self.stride, *self.rest), b

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """Over the window."""
        return (aten.avg_pool2d_backward.default(signal, kept, self.size, self.stride, *self.rest),)


class AdaptiveAvgPool2d(Op):
    """Means over as many windows as the output has places."""

    def __init__(self, size: Any) -> None:
        self.size = list(size) if isinstance(size, tuple | list) else [size, size]

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`b` is `(batch, channels, height, width)`; a None in the size keeps that dimension."""
        height, width = self.size
        size = height or b.shape[-2], width or b.shape[-1]
        return F.adaptive_avg_pool2d(b, size), b

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """Over the windows."""
        return (aten._adaptive_avg_pool2d_backward.default(signal, kept),)


class AdaptiveMaxPool2d(Op):
    """Maxima over as many windows as the output has places."""

    def __init__(self, size: Any) -> None:
        self.size = size

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`b` is `(batch, channels, height, width)`."""
        value, winners = F.adaptive_max_pool2d(b, self.size, return_indices=True)
        return value, (b, winners)

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """To the winners."""
        return (aten.adaptive_max_pool2d_backward.default(signal, *kept),)


def _pair(value: Any) -> list[int]:
    pair: list[int] = [value] if isinstance(value, int) else list(value)
    return pair * 2 if len(pair) == 1 else pair


def _adaptive_avg(build: Any, input: Any, output_size: Any) -> Any:
    if output_size in (1, (1, 1), [1, 1]):  # torch takes the plain mean here, and so its bits
        return build.add(Reduce("mean", (-1, -2), True), input)
    return build.add(AdaptiveAvgPool2d(output_size), input)


def _adaptive_max(build: Any, input: Any, output_size: Any, return_indices: bool = False) -> Any:
    if return_indices:
        return build.unsupported("max pooling that returns its indices")
    return build.add(AdaptiveMaxPool2d(output_size), input)


def _max(
    build: Any, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    dilation: Any = 1, ceil_mode: bool = False, return_indices: bool = False,
) -> Any:  # fmt: skip
    if return_indices:
        return build.unsupported("max pooling that returns its indices")
    return build.add(MaxPool2d(kernel_size, stride, padding, dilation, ceil_mode), input)


def _avg(
    build: Any, input: Any, kernel_size: Any, stride: Any = None, padding: Any = 0,
    ceil_mode: bool = False, count_include_pad: bool = True, divisor_override: int | None = None,
) -> Any:  # fmt: skip
    pool = AvgPool2d(
        kernel_size, stride, padding, ceil_mode, count_include_pad, divisor_override
    )  # fmt: skip
    return build.add(pool, input)


def _max_module(build: Any, m: nn.MaxPool2d, x: Any) -> Any:
    return _max(
        build, x, m.kernel_size, m.stride, m.padding, m.dilation, m.ceil_mode, m.return_indices
    )


def _avg_module(build: Any, m: nn.AvgPool2d, x: Any) -> Any:
    return _avg(
        build, x, m.kernel_size, m.stride, m.padding, m.ceil_mode, m.count_include_pad,
        m.divisor_override,
    )  # fmt: skip


RULES = {
    nn.MaxPool2d: _max_module,
    nn.AvgPool2d: _avg_module,
    nn.AdaptiveAvgPool2d: lambda build, m, x: _adaptive_avg(build, x, m.output_size),
    nn.AdaptiveMaxPool2d: lambda build, m, x: _adaptive_max(
        build, x, m.output_size, m.return_indices
    ),
    F.max_pool2d: _max,
    torch.max_pool2d: _max,
    F.avg_pool2d: _avg,
    F.adaptive_avg_pool2d: _adaptive_avg,
    F.adaptive_max_pool2d: _adaptive_max,
}
