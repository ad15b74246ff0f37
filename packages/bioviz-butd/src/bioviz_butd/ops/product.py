"""Products of two activities, or of an activity and a gain."""

from __future__ import annotations

import operator
from typing import Any

import torch
from torch import Tensor

from bioviz_butd.ops.op import Op, Signals, Wanted
from bioviz_butd.ops.shape import Scalar, Scale


class Product(Op):
    """`a b`, broadcast; down, each receives `t` times its partner: a multiplicative lateral."""

    locality = "lateral"

    def bottom_up(self, a: Tensor, b: Tensor) -> tuple[Tensor, Any]:
        """Elementwise."""
        return a * b, (a, b)

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """The signal times the partner, summed over broadcast dimensions."""
        a, b = kept
        return (
            (signal * b).sum_to_size(a.shape) if wanted[0] else None,
            (signal * a).sum_to_size(b.shape) if wanted[1] else None,
        )


def _product(build: Any, input: Any, other: Any) -> Any:
    if build.scalars(input, other):
        return build.add(Scalar(operator.mul), input, other)
    if build.scalars(input):
        input, other = other, input
    if build.scalars(other):
        return build.add(Scale(), input, other)
    return build.add(Product(), input, other)


RULES = dict.fromkeys((operator.mul, operator.imul, torch.mul, "mul", "mul_"), _product)
