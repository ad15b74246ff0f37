"""Positions are a tensor, or a tuple or dict of tensors, whose leading axis is the chain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

Position = Any
"""A tensor `(chains, ...)`, or a tuple or dict of them."""


def leaves(position: Position) -> list[Tensor]:
    """The tensors of a position, in order."""
    if isinstance(position, Tensor):
        return [position]
    return list(position.values() if isinstance(position, Mapping) else position)


def names(position: Position) -> list[str | int]:
    """The key of each tensor: its name in a dict, its place otherwise."""
    return list(position) if isinstance(position, Mapping) else [*range(len(leaves(position)))]


def rebuild(position: Position, parts: Sequence[Tensor]) -> Position:
    """`parts` in the form of `position`."""
    if isinstance(position, Tensor):
        return parts[0]
    if isinstance(position, Mapping):
        return dict(zip(position, parts, strict=True))
    return tuple(parts)
