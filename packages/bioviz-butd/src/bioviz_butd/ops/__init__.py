"""Ops: how each operation runs bottom-up and sends its counter signal, and which call has which."""

from __future__ import annotations

from collections.abc import Callable
from types import MappingProxyType
from typing import Any

from torch import nn

from bioviz_butd.ops import activation, convolution, linear, norm, pooling, product, shape

Rule = Callable[..., Any]

RULES = MappingProxyType(
    {
        **linear.RULES,
        **convolution.RULES,
        **norm.RULES,
        **activation.RULES,
        **pooling.RULES,
        **shape.RULES,
        **product.RULES,
    }
)
_registered: dict[Any, Rule] = {}


def register_op_rule(target: type[nn.Module] | Callable[..., Any] | str, rule: Rule) -> None:
    """Teach `convert` an operation: a module class, a function, or the name of a tensor method.

    `rule(build, *arguments)` gets the call's own arguments, before them the module where the
    target is a class, and returns what `build.add(op, *operands)` gives; `build.parameter(module,
    "weight")` names a parameter as an operand.

        register_op_rule(Cosine, lambda build, module, x: build.add(CosineOp(), x))
    """
    _registered[target] = rule


def rule_of_call(target: Any) -> Rule | None:
    """The rule of a function or of a method's name."""
    try:
        return _registered.get(target) or RULES.get(target)
    except TypeError:  # something that cannot be hashed has no rule
        return None


def rule_of_module(module: nn.Module) -> Rule | None:
    """The rule of a module's class; a subclass that computes something else has none."""
    for base in type(module).__mro__:
        rule = _registered.get(base) or RULES.get(base)
        if rule is not None:
            same = all(
                getattr(type(module), name, None) is getattr(base, name, None)
                for name in ("forward", "_conv_forward", "__call__")
            )
            return rule if same else None
    return None
