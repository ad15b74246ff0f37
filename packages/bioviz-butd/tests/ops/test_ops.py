"""Each op alone: its top-down half is the transposed Jacobian of its bottom-up half."""

from __future__ import annotations

from itertools import product

import pytest
import torch
from bioviz_butd.ops.activation import NONLINEARITIES, SELU, Dropout, Gate
from bioviz_butd.ops.convolution import Convolution, Pad
from bioviz_butd.ops.linear import Linear
from bioviz_butd.ops.norm import BatchNorm, GroupNorm, LayerNorm
from bioviz_butd.ops.pooling import AdaptiveAvgPool2d, AdaptiveMaxPool2d, AvgPool2d, MaxPool2d
from bioviz_butd.ops.product import Product
from bioviz_butd.ops.shape import Add, Concatenate, Permute, Pick, Piece, Reduce, Reshape, Transpose
from torch import nn


class Wrapped(torch.autograd.Function):
    """An op as an autograd function, so that gradcheck can compare it with finite differences."""

    @staticmethod
    def forward(ctx, op, *operands):
        with torch.no_grad():
            value, ctx.kept = op.bottom_up(*operands)
        ctx.op = op
        return value.clone()

    @staticmethod
    def backward(ctx, signal):
        wanted = ctx.needs_input_grad[1:]
        return None, *ctx.op.top_down(ctx.kept, signal, wanted)


def check(op, *operands) -> None:
    operands = [x.requires_grad_() if isinstance(x, torch.Tensor) else x for x in operands]
    assert torch.autograd.gradcheck(lambda *xs: Wrapped.apply(op, *xs), operands)


def rand(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, dtype=torch.float64)


@pytest.mark.parametrize("shape", [(5,), (3, 5), (2, 3, 5), (0, 5)])
def test_linear(shape) -> None:
    check(Linear(), rand(*shape), rand(4, 5), rand(4))


GRID = [
    (stride, padding, dilation, groups)
    for stride, padding, dilation, groups in product((1, 2, 3), (0, 1, 2), (1, 2), (1, 2, 4))
]


@pytest.mark.slow
@pytest.mark.parametrize(("stride", "padding", "dilation", "groups"), GRID)
def test_convolution(stride, padding, dilation, groups) -> None:
    op = Convolution((stride, 1), (padding, 1), (dilation, 1), groups)
    check(op, rand(2, 4, 7, 6), rand(4, 4 // groups, 3, 2), rand(4))


@pytest.mark.parametrize("layout", ["channels last", "not contiguous", "without bias"])
def test_convolution_takes_any_layout(layout) -> None:
    x, bias = rand(2, 4, 6, 5), rand(4)
    if layout == "channels last":
        x = x.to(memory_format=torch.channels_last)
    elif layout == "not contiguous":
        x = rand(2, 6, 4, 5).transpose(1, 2)
    else:
        bias = None
    check(Convolution((2, 1), (1, 0), (1, 1), 1), x, rand(4, 4, 3, 3), bias)


@pytest.mark.parametrize("dims", [1, 3])
def test_convolution_in_other_dimensions(dims) -> None:
    op = Convolution([2] * dims, [1] * dims, [1] * dims, 2)
    check(op, rand(2, 2, *[5] * dims), rand(4, 1, *[2] * dims), rand(4))


def test_transposed_convolution() -> None:
    op = Convolution((2, 2), (1, 1), (1, 1), 2, (1, 0))
    check(op, rand(2, 4, 3, 4), rand(4, 3, 3, 2), rand(6))


@pytest.mark.parametrize("op", [
    Linear(), Convolution((2, 1), (1, 2), (1, 1), 2),
], ids=["linear", "convolution"])  # fmt: skip
def test_a_separate_weight_carries_the_signal_and_leaves_the_update(op) -> None:
    linear = isinstance(op, Linear)
    b = rand(3, 4) if linear else rand(2, 4, 6, 5)
    w, feedback = (rand(6, 4), rand(6, 4)) if linear else (rand(6, 2, 3, 3), rand(6, 2, 3, 3))
    z, kept = op.bottom_up(b, w, None)
    t = torch.randn_like(z)
    signal, update, _ = op.top_down(kept, t, (True, True, False), feedback)
    _, own_update, _ = op.top_down(kept, t, (True, True, False))
    assert torch.allclose(update, own_update, rtol=1e-14)
    through, _ = op.bottom_up(b, feedback, None)
    assert torch.allclose((through * t).sum(), (b * signal).sum(), rtol=1e-12)


@pytest.mark.parametrize("mode", ["constant", "reflect", "replicate", "circular"])
@pytest.mark.parametrize("pads", [(1, 2, 2, 0), (0, 0, 1, 1)])
def test_padding_is_folded_back(mode, pads) -> None:
    check(Pad(pads, mode, None), rand(2, 2, 4, 5))


@pytest.mark.parametrize("training", [True, False])
def test_batch_norm(training) -> None:
    op = BatchNorm(training=training)
    check(op, rand(4, 3, 2, 2), rand(3), rand(3), None, None) if training else None
    mean, var = rand(3), rand(3).abs() + 0.5
    value, kept = BatchNorm().bottom_up(z := rand(4, 3, 2, 2), gain := rand(3), rand(3), mean, var)
    signal, gain_update, shift_update, *_ = BatchNorm().top_down(
        kept, t := torch.randn_like(value), (True, True, True, False, False)
    )
    scale = (var + 1e-5).rsqrt().view(1, 3, 1, 1)
    assert torch.allclose(signal, t * gain.view(1, 3, 1, 1) * scale)
    assert torch.allclose(gain_update, (t * (z - mean.view(1, 3, 1, 1)) * scale).sum((0, 2, 3)))
    assert torch.allclose(shift_update, t.sum((0, 2, 3)))


def test_batch_norm_signal_is_the_formula() -> None:
    z, gain, shift = rand(5, 2, 3, 3), rand(2), rand(2)
    op = BatchNorm(training=True)
    _, kept = op.bottom_up(z, gain, shift, None, None)
    t = rand(5, 2, 3, 3)
    signal, *_ = op.top_down(kept, t, (True, True, True, False, False))
    count, axes = 45, (0, 2, 3)
    r = (z.var(axes, unbiased=False, keepdim=True) + 1e-5).rsqrt()
    x = (z - z.mean(axes, keepdim=True)) * r
    total, match = t.sum(axes, keepdim=True), (t * x).sum(axes, keepdim=True)
    formula = gain.view(1, 2, 1, 1) * r / count * (count * t - total - x * match)
    assert torch.allclose(signal, formula, rtol=1e-10)


def test_batch_norm_refuses_one_value_per_channel_as_torch_does() -> None:
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        BatchNorm(training=True).bottom_up(rand(1, 3, 1, 1), None, None, None, None)


def test_layer_and_group_norm() -> None:
    check(LayerNorm((3, 4), 1e-5), rand(2, 3, 4), rand(3, 4), rand(3, 4))
    check(GroupNorm(2, 1e-5), rand(2, 4, 3), rand(4), rand(4))
    check(LayerNorm((4,), 1e-5), rand(2, 3, 4), None, None)


SETTINGS = {
    "gelu": ("tanh",), "hardtanh": (-1.0, 0.7), "leaky_relu": (0.1,), "softplus": (2.0, 20.0),
    "elu": SELU,
}  # fmt: skip


@pytest.mark.parametrize("kind", NONLINEARITIES)
def test_graded_gates(kind) -> None:
    check(Gate(kind, *SETTINGS.get(kind, ())), rand(4, 5))


def test_the_gate_is_shut_at_zero_and_keeps_nan() -> None:
    z = torch.tensor([-1.0, -0.0, 0.0, 1e-45, 2.0, float("nan")])
    gate = Gate("relu")
    _, kept = gate.bottom_up(z)
    (t,) = gate.top_down(kept, torch.ones(6), (True,))
    expected = torch.autograd.functional.vjp(torch.relu, z, torch.ones(6))[1]
    assert torch.equal(t, expected)
    assert t.tolist()[:5] == [0, 0, 0, 1, 1]


@pytest.mark.parametrize("by_channel", [False, True])
def test_dropout_uses_one_mask_both_ways(by_channel) -> None:
    op = Dropout(p=0.5, by_channel=by_channel)
    b = torch.ones(4, 6, 5, 5)
    value, kept = op.bottom_up(b)
    (t,) = op.top_down(kept, b, (True,))
    assert torch.equal(value, t)
    assert set(value.unique().tolist()) == {0.0, 2.0}
    assert by_channel == all(len(channel.unique()) == 1 for channel in value.flatten(0, 1))
    assert not Dropout(p=1.0).bottom_up(b)[0].any()
    assert Dropout(nn.Dropout(0.5).eval()).bottom_up(b)[0] is b


@pytest.mark.parametrize("op", [
    MaxPool2d(3, 2, 1, 1, False), MaxPool2d((2, 1), None, 0, 1, True),
    AvgPool2d(3, 2, 1, True, False, None), AvgPool2d(2, None, 0, False, True, 3),
    AdaptiveAvgPool2d((2, None)), AdaptiveMaxPool2d(2), Reduce("mean", (-1, -2), True),
], ids=lambda op: type(op).__name__)  # fmt: skip
def test_pooling(op) -> None:
    check(op, rand(2, 3, 5, 6))


@pytest.mark.parametrize("op", [
    Reshape("flatten"), Permute((2, 0, -2)), Transpose(0, -1), Piece(Pick((slice(None), 1))),
    Piece(Pick(1, "chunk", 2, 2)), Piece(Pick(0, "unbind", 1)), Reduce("sum", None, False),
    Reduce("mean", 1, False), Reduce("mean", (0, -1), True),
], ids=lambda op: type(op).__name__)  # fmt: skip
def test_shapes(op) -> None:
    check(op, rand(2, 3, 4))


def test_joins() -> None:
    check(Concatenate(1), rand(2, 3), rand(2, 1), rand(2, 2))
    check(Add(), rand(2, 3, 4), rand(3, 1))
    check(Add(-0.5), rand(3, 1), rand(2, 3, 4))
    check(Product(), rand(2, 3, 4), rand(2, 1, 4))
    check(Product(), rand(2, 3), rand(2, 3))


@pytest.mark.parametrize("op", [
    Linear(), Convolution((1, 2), (1, 1), (2, 1), 1), AvgPool2d(2, 1, 0, False, True, None),
    Pad((1, 1, 1, 1), "circular", None), Reshape("flatten"), Reduce("mean", (2, 3), False),
], ids=lambda op: type(op).__name__)  # fmt: skip
def test_linear_ops_are_adjoint(op) -> None:
    x = rand(2, 3, 6, 6)
    weights = {"Linear": (rand(4, 6), None), "Convolution": (rand(4, 3, 3, 3), None)}
    operands = weights.get(type(op).__name__, ())
    value, kept = op.bottom_up(x, *operands)
    t = torch.randn_like(value)
    down = op.top_down(kept, t, (True, *[False] * len(operands)))[0]
    assert torch.allclose((value * t).sum(), (x * down).sum(), rtol=1e-12)
