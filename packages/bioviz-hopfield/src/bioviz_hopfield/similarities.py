"""How alike a query and each stored key are: the first of a retrieval's three parts.

Each takes `query (..., Q, A)` and `keys (..., M, A)` and gives `(..., Q, M)`; larger is closer.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn.functional import normalize


@dataclass(frozen=True, slots=True)
class Similarity:
    """A similarity and the value it takes at most; unbounded ones are measured from 0.

    Weights that are not normalized are `exp(beta (s - largest))`, which cannot overflow where
    `largest` is a true bound. For the cosine this is Tip-Adapter's `exp(-beta (1 - cos))`.
    """

    measure: Callable[[Tensor, Tensor], Tensor]
    largest: float = 0.0


def dot(query: Tensor, keys: Tensor) -> Tensor:
    """`q . x`, the similarity of the modern Hopfield network."""
    return query @ keys.mT


def cosine(query: Tensor, keys: Tensor) -> Tensor:
    """`q . x / (|q| |x|)`; a zero vector is alike to nothing (0)."""
    return normalize(query, dim=-1) @ normalize(keys, dim=-1).mT


def euclidean(query: Tensor, keys: Tensor) -> Tensor:
    """`-|q - x|^2`: the negative squared distance."""
    squares = query.square().sum(-1)[..., :, None] + keys.square().sum(-1)[..., None, :]
    return 2 * dot(query, keys) - squares


def manhattan(query: Tensor, keys: Tensor) -> Tensor:
    """`-sum |q - x|`: the negative city-block distance."""
    return -torch.cdist(query, keys, p=1.0)


SimilarityName = Literal["dot", "cosine", "euclidean", "manhattan"]
SIMILARITIES: dict[str, Similarity] = {
    "dot": Similarity(dot),
    "cosine": Similarity(cosine, largest=1.0),
    "euclidean": Similarity(euclidean),
    "manhattan": Similarity(manhattan),
}
