"""How similarities become weights: the second of a retrieval's three parts.

Each but `largest` is the gradient of a convex conjugate, `argmax_p p.z - Omega(p)` over the
simplex, with the Tsallis negentropy `Omega_a(p) = (sum p^a - 1) / (a (a - 1))` (Shannon's at
a = 1); the conjugate `Omega*(z)` is what the energy needs.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from entmax import entmax15, sparsemax
from torch import Tensor
from torch.nn.functional import one_hot


@dataclass(frozen=True, slots=True)
class Separation:
    """Weights from scores `(..., M)`, and the index `a` of the negentropy behind them.

    `alpha` is None where there is none: such a retrieval has no energy here.
    """

    weights: Callable[[Tensor], Tensor]
    alpha: float | None

    @property
    def margin(self) -> float:
        """A lead of `margin / beta` over all others brings one pattern back exactly."""
        return float("inf") if self.alpha in (None, 1.0) else 1.0 / (self.alpha - 1.0)

    def conjugate(self, scores: Tensor) -> Tensor:
        """`Omega*(z) = max_p p.z - Omega(p)`, over the last axis."""
        if self.alpha == 1.0:
            return torch.logsumexp(scores, -1)
        best = scores.amax(-1, keepdim=True)
        shifted = scores - best  # -inf where masked: such entries carry no weight
        weights = self.weights(shifted)
        inner = torch.where(weights > 0, weights * shifted, 0.0).sum(-1)
        return best.squeeze(-1) + inner - self.negentropy(weights)

    def negentropy(self, weights: Tensor) -> Tensor:
        """`Omega(p)` of weights over the last axis; at most 0, and 0 for a single pattern."""
        if self.alpha is None:
            raise ValueError("this separation is no gradient of a convex conjugate")
        if self.alpha == 1.0:
            return torch.xlogy(weights, weights).sum(-1)
        scale = self.alpha * (self.alpha - 1.0)
        return (weights.pow(self.alpha).sum(-1) - 1.0) / scale


def softmax(scores: Tensor) -> Tensor:
    """`exp z_i / sum_j exp z_j`: never exactly one pattern."""
    return torch.softmax(scores, -1)


def largest(scores: Tensor) -> Tensor:
    """All weight on the best score, the first of equals: the limit of large `beta`."""
    return one_hot(scores.argmax(-1), scores.shape[-1]).to(scores.dtype)


SeparationName = Literal["softmax", "entmax15", "sparsemax", "max"]
SEPARATIONS: dict[str, Separation] = {
    "softmax": Separation(softmax, 1.0),
    "entmax15": Separation(lambda scores: entmax15(scores, dim=-1), 1.5),
    "sparsemax": Separation(lambda scores: sparsemax(scores, dim=-1), 2.0),
    "max": Separation(largest, None),
}
