"""What a rule that writes fast weights needs of a model."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, Self, runtime_checkable

from bioviz_core.bridge.torch import TorchModel
from bioviz_core.interfaces import Model, Tree

from bioviz_fastweights.fast_weights import FastWeights


@runtime_checkable
class FastWeighted(Model, Protocol):
    """A model with fast weights: their parameters, and their decay."""

    fast_parameters: Callable[[], Sequence[Any]] | None
    decay: Callable[[float], None] | None


class FastWeightedModel(TorchModel):
    """A model that is `FastWeighted` from the moment fast weights are attached to it."""

    fast_weights: FastWeights | None = None

    @property
    def fast_parameters(self) -> Callable[[], Sequence[Any]] | None:
        """Gives the fast parameters; None without fast weights."""
        return self.fast_weights.parameters if self.fast_weights else None

    @property
    def decay(self) -> Callable[[float], None] | None:
        """Multiplies the fast weights by a factor; None without fast weights."""
        return self.fast_weights.decay if self.fast_weights else None

    def state_tree(self) -> Tree:
        """As `TorchModel.state_tree`; not while merged: the slow weights are not theirs."""
        if self.fast_weights:
            self.fast_weights.refuse_merged("state_tree")
        return super().state_tree()

    def with_state(self, state: Tree, /) -> Self:
        """As `TorchModel.with_state`; not while merged, which would drop the deltas."""
        if self.fast_weights:
            self.fast_weights.refuse_merged("with_state")
        return super().with_state(state)
