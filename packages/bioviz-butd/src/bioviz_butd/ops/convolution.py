"""Convolutions and the padding before them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioviz_butd.ops.op import Op, Signals, Wanted, autocast_dtype

aten = torch.ops.aten


class Convolution(Op):
    """`z = W * b + c` in one to three dimensions, also transposed.

    Down: the transposed convolution of `t`, to the exact size of the stored `b`; the weight's
    update is the correlation of `b` with `t`, local with weights shared over positions. One fused
    kernel gives all three; with a separate top-down weight two calls do.
    """

    weight = 1

    def __init__(
        self,
        stride: Sequence[int],
        padding: Sequence[int],
        dilation: Sequence[int],
        groups: int,
        output_padding: Sequence[int] | None = None,
    ) -> None:
        self.stride, self.padding, self.dilation = list(stride), list(padding), list(dilation)
        self.groups, self.transposed = groups, output_padding is not None
        self.output_padding = list(output_padding or [0] * len(self.stride))

    def bottom_up(self, b: Tensor, weight: Tensor, bias: Tensor | None) -> tuple[Tensor, Any]:
        """`b` is `(batch, channels, *space)`."""
        if b.dim() != len(self.stride) + 2:
            raise ValueError(
                f"a convolution over {len(self.stride)} dimensions got the shape {tuple(b.shape)}:"
                " batch and channels come first"
            )
        dtype = autocast_dtype(b)
        if dtype is not None:
            b, weight = b.to(dtype), weight.to(dtype)
            bias = None if bias is None else bias.to(dtype)
        z = torch.convolution(
            b, weight, bias, self.stride, self.padding, self.dilation, self.transposed,
            self.output_padding, self.groups,
        )  # fmt: skip
        return z, (b, weight)

    def top_down(
        self, kept: Any, signal: Tensor, wanted: Wanted, feedback: Tensor | None = None
    ) -> Signals:
        """Signal to the input, updates of weight and bias."""
        b, weight = kept
        if feedback is None or not wanted[0]:
            return self._counter(signal, b, weight, wanted)
        down, _, _ = self._counter(signal, b, feedback.to(weight.dtype), (True, False, False))
        if not (wanted[1] or wanted[2]):
            return down, None, None
        _, update, bias = self._counter(signal, b, weight, (False, wanted[1], wanted[2]))
        return down, update, bias

    def _counter(self, t: Tensor, b: Tensor, weight: Tensor, wanted: Wanted) -> Signals:
        channels = weight.shape[1] * self.groups if self.transposed else weight.shape[0]
        found: Signals = aten.convolution_backward.default(
            t, b, weight, [channels], self.stride, self.padding, self.dilation, self.transposed,
            self.output_padding, self.groups, wanted,
        )  # fmt: skip
        return found


class Pad(Op):
    """Padding of the last dimensions; down, each copy's signal is folded back on its origin."""

    def __init__(self, pads: Sequence[int], mode: str, value: float | None) -> None:
        self.pads, self.mode, self.value = tuple(pads), mode, value

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """`F.pad`."""
        # The reflecting kernel needs its input again for nothing but its shape.
        kept = b.shape if self.mode in ("constant", "circular") else b
        return F.pad(b, self.pads, self.mode, self.value), kept

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """Crop, and add what the copies received."""
        if self.mode == "constant":
            return (F.pad(signal, [-p for p in self.pads]),)
        if self.mode == "circular":
            return (self._unwrap(signal, kept),)
        kind = "reflection" if self.mode == "reflect" else "replication"
        fold = getattr(aten, f"{kind}_pad{len(self.pads) // 2}d_backward").default
        return (fold(signal, kept, self.pads),)

    def _unwrap(self, signal: Tensor, shape: torch.Size) -> Tensor:
        for i in range(len(self.pads) // 2):
            dim, (left, right) = -1 - i, self.pads[2 * i : 2 * i + 2]
            size = shape[dim]
            core = signal.narrow(dim, left, size).clone()
            if left:
                core.narrow(dim, size - left, left).add_(signal.narrow(dim, 0, left))
            if right:
                core.narrow(dim, 0, right).add_(signal.narrow(dim, left + size, right))
            signal = core
        return signal


def convolve(
    build: Any, x: Any, weight: Any, bias: Any, *, dims: int, size: Sequence[int], stride: Any,
    padding: Any, dilation: Any, groups: int, mode: str = "zeros",
) -> Any:  # fmt: skip
    """Add a convolution, with a step for the padding where the kernel cannot do it."""
    stride, dilation = _each(stride, dims), _each(dilation, dims)
    if padding == "valid":
        pads = [(0, 0)] * dims
    elif padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, size, strict=True)]
        pads = [(t // 2, t - t // 2) for t in total]
    else:
        pads = [(p, p) for p in _each(padding, dims)]
    if mode != "zeros" or any(left != right for left, right in pads):
        flat = [p for pair in reversed(pads) for p in pair]
        x = build.add(Pad(flat, "constant" if mode == "zeros" else mode, None), x)
        pads = [(0, 0)] * dims
    op = Convolution(stride, [left for left, _ in pads], dilation, groups)
    return build.add(op, x, weight, bias)


def _each(value: Any, dims: int) -> list[int]:
    each: list[int] = [value] if isinstance(value, int) else list(value)
    return each * dims if len(each) == 1 else each


def _module(build: Any, module: Any, x: Any) -> Any:
    return convolve(
        build, x, build.parameter(module, "weight"), build.parameter(module, "bias"),
        dims=len(module.kernel_size), size=module.kernel_size, stride=module.stride,
        padding=module.padding, dilation=module.dilation, groups=module.groups,
        mode=module.padding_mode,
    )  # fmt: skip


def _transposed_module(build: Any, module: Any, x: Any) -> Any:
    op = Convolution(
        module.stride, module.padding, module.dilation, module.groups, module.output_padding
    )
    return build.add(op, x, build.parameter(module, "weight"), build.parameter(module, "bias"))


def _function(dims: int) -> Any:
    def rule(
        build: Any, input: Any, weight: Any, bias: Any = None, stride: Any = 1, padding: Any = 0,
        dilation: Any = 1, groups: int = 1,
    ) -> Any:  # fmt: skip
        size = build.shape_of(weight)[2:] if padding == "same" else ()
        return convolve(
            build, input, weight, bias, dims=dims, size=size, stride=stride, padding=padding,
            dilation=dilation, groups=groups,
        )  # fmt: skip

    return rule


def _pad(build: Any, input: Any, pad: Any, mode: str = "constant", value: Any = None) -> Any:
    return build.add(Pad(pad, mode, value), input)


RULES = {
    nn.Conv1d: _module,
    nn.Conv2d: _module,
    nn.Conv3d: _module,
    nn.ConvTranspose1d: _transposed_module,
    nn.ConvTranspose2d: _transposed_module,
    nn.ConvTranspose3d: _transposed_module,
    F.conv1d: _function(1),
    F.conv2d: _function(2),
    F.conv3d: _function(3),
    F.pad: _pad,
}
