"""Softmax retrieval from a memory in pieces, in space that does not grow with the memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import torch
from torch import Tensor

Piece = tuple[Any, Any]
"""Keys `(..., m, A)` and values `(..., m, V)`: tensors, or arrays such as a memory map's slices."""


def read_pieces(
    query: Tensor,
    memory: Iterable[Piece],
    *,
    beta: float | Tensor,
    similarity: Callable[[Tensor, Tensor], Tensor],
    masks: Iterable[Tensor] | None = None,
) -> tuple[Tensor, Tensor]:
    """The softmax-weighted values of all pieces, and the log-sum-exp of the scores.

    Carries `(o, l)` and joins the next piece's `(o2, l2)`: `l' = logaddexp(l, l2)`,
    `o' = o exp(l - l') + o2 exp(l2 - l')`. Space is `O(Q (A + V) + m (A + V))`.
    """
    output = lse = None
    every: Iterator[Tensor | None] = iter(masks) if masks is not None else _no_masks()
    for (keys, values), mask in zip(memory, every, strict=False):
        keys, values = torch.as_tensor(keys), torch.as_tensor(values)
        scores = beta * similarity(query, keys.to(query))
        if mask is not None:
            # Finite, so that a piece with every row masked has gradients; its weight is zero.
            hidden = torch.finfo(scores.dtype).min / 4
            scores = scores.masked_fill(~mask[..., None, :], hidden)
        here = torch.logsumexp(scores, -1)
        read = (scores - here[..., None]).exp() @ values.to(query)
        if output is None or lse is None:
            output, lse = read, here
            continue
        joint = torch.logaddexp(lse, here)
        output = (lse - joint).exp()[..., None] * output + (here - joint).exp()[..., None] * read
        lse = joint
    if output is None or lse is None:
        raise ValueError("the memory is empty: there was no piece to read")
    return output, lse


def pieces(tensor: Tensor, size: int, *, dim: int) -> Iterator[Tensor]:
    """Views of at most `size` rows."""
    for start in range(0, tensor.shape[dim], size):
        yield tensor.narrow(dim, start, min(size, tensor.shape[dim] - start))


def retrieve_stream(
    query: Tensor, memory: Iterable[Piece], *, beta: float, steps: int = 1
) -> Tensor:
    """As `functional.retrieve` with dot products and softmax, for a memory that comes in pieces.

    `memory` gives `(keys, values)`; it is gone through once per step, so more than one step needs
    something that can be iterated again (a list, an own class), not a generator.
    """
    from bioviz_hopfield.similarities import dot

    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}")
    if steps > 1 and iter(memory) is memory:
        raise ValueError(f"{steps} steps go through the pieces {steps} times: give no iterator")
    state = query
    for _ in range(steps - 1):
        state = read_pieces(state, ((k, k) for k, _ in memory), beta=beta, similarity=dot)[0]
    return read_pieces(state, memory, beta=beta, similarity=dot)[0]


def _no_masks() -> Iterator[None]:
    while True:
        yield None
