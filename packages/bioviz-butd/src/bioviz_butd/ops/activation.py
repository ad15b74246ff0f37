"""Gated nodes `b = phi(z)`: the counter signal passes as `t phi'(z)`. Dropout is a random gate."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioviz_butd.ops.op import Op, Signals, Wanted

aten = torch.ops.aten


class Nonlinearity(NamedTuple):
    """`phi(z, *settings)`, the gate `t phi'` of `(t, kept, *settings)`, and which end is kept."""

    phi: Callable[..., Tensor]
    gate: Callable[..., Tensor]
    keeps_value: bool = False


# At z = 0 the ReLU's gate is closed, as in autograd: 1[b > 0], also for negative zero.
NONLINEARITIES: dict[str, Nonlinearity] = {
    "relu": Nonlinearity(torch.relu, lambda t, b: aten.threshold_backward.default(t, b, 0), True),
    "tanh": Nonlinearity(torch.tanh, aten.tanh_backward.default, True),
    "sigmoid": Nonlinearity(torch.sigmoid, aten.sigmoid_backward.default, True),
    "gelu": Nonlinearity(
        lambda z, approximate: F.gelu(z, approximate=approximate),
        lambda t, z, approximate: aten.gelu_backward.default(t, z, approximate=approximate),
    ),
    "silu": Nonlinearity(F.silu, aten.silu_backward.default),
    "mish": Nonlinearity(F.mish, aten.mish_backward.default),
    "hardswish": Nonlinearity(F.hardswish, aten.hardswish_backward.default),
    "hardsigmoid": Nonlinearity(F.hardsigmoid, aten.hardsigmoid_backward.default),
    "hardtanh": Nonlinearity(F.hardtanh, aten.hardtanh_backward.default),
    "leaky_relu": Nonlinearity(
        F.leaky_relu, lambda t, z, slope: aten.leaky_relu_backward.default(t, z, slope, False)
    ),
    "softplus": Nonlinearity(F.softplus, aten.softplus_backward.default),
    "elu": Nonlinearity(
        aten.elu.default, lambda t, z, *scales: aten.elu_backward.default(t, *scales, False, z)
    ),
}
# alpha and scale of self-normalising networks (Klambauer 2017), as torch has them
SELU = (1.6732632423543772848170429916717, 1.0507009873554804934193349852946, 1.0)


class Gate(Op):
    """An elementwise nonlinearity; where its slope is 0 or 1 the gate is open or shut."""

    def __init__(self, kind: str, *settings: Any) -> None:
        self.kind, self.settings = kind, settings

    def bottom_up(self, z: Tensor) -> tuple[Tensor, Any]:
        """`phi(z)`."""
        nonlinearity = NONLINEARITIES[self.kind]
        b = nonlinearity.phi(z, *self.settings)
        return b, b if nonlinearity.keeps_value else z

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """`t phi'(z)`."""
        return (NONLINEARITIES[self.kind].gate(signal, kept, *self.settings),)


class Dropout(Op):
    """Units, or with `by_channel` whole maps, silenced at random; the same mask both ways."""

    def __init__(
        self, module: Any = None, *, p: float = 0.5, training: bool = True, by_channel: bool = False
    ) -> None:
        self.module, self.p, self.training, self.by_channel = module, p, training, by_channel

    def bottom_up(self, b: Tensor) -> tuple[Tensor, Any]:
        """Draws as torch does, so the same global seed gives the same mask."""
        p, training = self.p, self.training
        if self.module is not None:
            p, training = self.module.p, self.module.training
        if not training or p == 0 or b.numel() == 0:
            return b, None
        if p == 1:
            mask = torch.zeros_like(b)
        elif b.device.type == "cuda" and not self.by_channel:
            value, mask = torch.native_dropout(b, p, True)
            return value, mask.to(b.dtype).mul_(1 / (1 - p))
        else:
            shape = (*b.shape[:2], *[1] * (b.dim() - 2)) if self.by_channel else b.shape
            mask = torch.empty(shape, dtype=b.dtype, device=b.device).bernoulli_(1 - p).div_(1 - p)
        return b * mask, mask

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The signal through the same mask."""
        return (signal if kept is None else signal * kept,)

    is_view = True


def _gate(kind: str, *settings: Any) -> Any:
    return lambda build, input, inplace=False: build.add(Gate(kind, *settings), input)


def _gate_module(kind: str, read: Callable[[Any], tuple[Any, ...]] = lambda m: ()) -> Any:
    return lambda build, module, x: build.add(Gate(kind, *read(module)), x)


def _gelu(build: Any, input: Any, approximate: str = "none") -> Any:
    return build.add(Gate("gelu", approximate), input)


def _leaky(build: Any, input: Any, negative_slope: float = 0.01, inplace: bool = False) -> Any:
    return build.add(Gate("leaky_relu", negative_slope), input)


def _elu(build: Any, input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    return build.add(Gate("elu", alpha, 1.0, 1.0), input)


def _celu(build: Any, input: Any, alpha: float = 1.0, inplace: bool = False) -> Any:
    return build.add(Gate("elu", alpha, 1.0, 1.0 / alpha), input)


def _hardtanh(
    build: Any, input: Any, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False
) -> Any:
    return build.add(Gate("hardtanh", min_val, max_val), input)


def _softplus(build: Any, input: Any, beta: float = 1.0, threshold: float = 20.0) -> Any:
    return build.add(Gate("softplus", beta, threshold), input)


def _dropout_module(build: Any, module: Any, x: Any) -> Any:
    return build.add(Dropout(module, by_channel=type(module) is not nn.Dropout), x)


def _dropout(by_channel: bool) -> Any:
    def rule(
        build: Any, input: Any, p: float = 0.5, training: bool = True, inplace: bool = False
    ) -> Any:
        return build.add(Dropout(p=p, training=training, by_channel=by_channel), input)

    return rule


RULES = {
    nn.ReLU: _gate_module("relu"),
    nn.ReLU6: _gate_module("hardtanh", lambda m: (0.0, 6.0)),
    nn.Hardtanh: _gate_module("hardtanh", lambda m: (m.min_val, m.max_val)),
    nn.LeakyReLU: _gate_module("leaky_relu", lambda m: (m.negative_slope,)),
    nn.ELU: _gate_module("elu", lambda m: (m.alpha, 1.0, 1.0)),
    nn.CELU: _gate_module("elu", lambda m: (m.alpha, 1.0, 1.0 / m.alpha)),
    nn.SELU: _gate_module("elu", lambda m: SELU),
    nn.GELU: _gate_module("gelu", lambda m: (m.approximate,)),
    nn.SiLU: _gate_module("silu"),
    nn.Mish: _gate_module("mish"),
    nn.Tanh: _gate_module("tanh"),
    nn.Sigmoid: _gate_module("sigmoid"),
    nn.Hardswish: _gate_module("hardswish"),
    nn.Hardsigmoid: _gate_module("hardsigmoid"),
    nn.Softplus: _gate_module("softplus", lambda m: (m.beta, m.threshold)),
    nn.Dropout: _dropout_module,
    nn.Dropout1d: _dropout_module,
    nn.Dropout2d: _dropout_module,
    nn.Dropout3d: _dropout_module,
    F.relu6: _gate("hardtanh", 0.0, 6.0),
    F.leaky_relu: _leaky,
    F.elu: _elu,
    F.celu: _celu,
    F.selu: _gate("elu", *SELU),
    torch.selu: _gate("elu", *SELU),
    F.gelu: _gelu,
    F.silu: _gate("silu"),
    F.mish: _gate("mish"),
    F.hardswish: _gate("hardswish"),
    F.hardsigmoid: _gate("hardsigmoid"),
    F.hardtanh: _hardtanh,
    F.softplus: _softplus,
    F.dropout: _dropout(False),
    F.dropout2d: _dropout(True),
    torch.dropout: _dropout(False),
    **{
        place: _gate(kind)
        for kind in ("relu", "tanh", "sigmoid")
        for place in (getattr(torch, kind), getattr(torch, f"{kind}_"), getattr(F, kind), kind,
                      f"{kind}_")
    },
}  # fmt: skip
