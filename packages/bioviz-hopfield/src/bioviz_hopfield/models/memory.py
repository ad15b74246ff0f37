"""A class memory over any model's features: writing is learning, and nothing else changes."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Protocol, Self, runtime_checkable

import torch
from bioviz_core.bridge.torch import TorchModel, as_model, quiet
from bioviz_core.interfaces import Field, Model
from torch import Tensor, nn
from torch.nn.functional import normalize

from bioviz_hopfield import functional
from bioviz_hopfield.store import MemoryStore


@runtime_checkable
class HasMemory(Model, Protocol):
    """A model with a memory that a rule can write to."""

    def keys_for(self, inputs: Any, /) -> Any:
        """The keys `(B, A)` under which these inputs are stored."""

    def write(self, keys: Any, labels: Any, /) -> Self:
        """Store keys under labels."""


class Memory(TorchModel):
    """Prototypes of the classes, compared by cosine with what a frozen base says of an image.

    The key of an image is `base`'s answer, or its response at `layer`, flattened; without a base it
    is the image itself, of `key_dim` numbers. Logits are `beta cos(key, prototype)`: their softmax
    is one Hopfield read of the one-hot labels. A class that was never written has the logit -inf;
    before the first write all logits are 0. `Memory(base=net, layer="3", ...)` gives any model one.
    """

    def __init__(
        self,
        *,
        num_classes: int,
        key_dim: int,
        base: nn.Module | None = None,
        layer: str | None = None,
        beta: float = 10.0,
    ) -> None:
        super().__init__()
        if layer is not None and base is None:
            raise ValueError(f"layer={layer!r} is a layer of which base? Give base")
        if not beta > 0:
            raise ValueError(f"beta must be positive, got {beta}. With cosines 5 to 50 is usual")
        self.base: Any = as_model(base) if base is not None and not _is_model(base) else base
        if self.base is not None:
            self.base.requires_grad_(False)
        self.num_classes, self.layer, self.beta = num_classes, layer, beta
        # Double precision, so that the means do not depend on how the data came in batches.
        self.store = MemoryStore(
            num_classes, key_dim=key_dim, value_dim=num_classes, dtype=torch.float64
        )

    def forward(self, inputs: Tensor) -> Tensor:
        """Logits `(B, num_classes)`."""
        return self._logits(self.keys_for(inputs))

    def keys_for(self, inputs: Tensor, /) -> Tensor:
        """The keys of these inputs, in evaluation mode and without gradients."""
        if self.base is None:
            return inputs.flatten(1)
        if self.layer is None:
            with quiet(self.base):
                return _flat(self.base(inputs))
        found = self.base.activations(inputs)
        if self.layer not in found:
            raise ValueError(f"the base has no layer {self.layer!r}; it has {', '.join(found)}")
        return _flat(found[self.layer])

    def write(self, keys: Tensor, labels: Tensor, /) -> Self:
        """Move the prototypes of these labels to the mean of all keys written under them."""
        if bool((labels >= self.num_classes).any()):
            raise ValueError(
                f"label {int(labels.max())} is outside the {self.num_classes} classes of the memory"
            )
        values = nn.functional.one_hot(labels.long(), self.num_classes)
        self.store.write(keys, values, labels, rule="prototype")
        return self

    def predict(self, inputs: Tensor) -> Tensor:
        """The class of each input; the lowest label of equals, never one that was not written."""
        return self.forward(inputs).argmax(-1)

    def activations(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """The base's responses as `base.NAME`, then `keys` and `logits`."""
        found: dict[str, Tensor] = {}
        if self.base is not None:
            responses = self.base.activations(inputs)
            found = {f"base.{name}": value for name, value in responses.items()}
        with torch.no_grad():
            keys = self.keys_for(inputs)
            return found | {"keys": keys.clone(), "logits": self._logits(keys).clone()}

    def states(self, inputs: Tensor, /) -> dict[str, Tensor]:
        """The query: the direction of the key."""
        return {"query": normalize(self.keys_for(inputs), dim=-1)}

    def energy(self, states: Mapping[str, Tensor], /) -> Tensor:
        """The Hopfield energy of the query among the directions of the prototypes.

        One update of the query never raises it. An empty memory leaves `q.q / 2`.
        """
        query = states["query"]
        if not self.store.size:
            return query.square().sum(-1) / 2
        prototypes = normalize(self.store.keys, dim=-1).to(query)
        return functional.energy(query, prototypes, beta=self.beta)

    def _logits(self, keys: Tensor) -> Tensor:
        logits = keys.new_zeros(len(keys), self.num_classes)
        if not self.store.size:
            return logits
        cosines = normalize(keys, dim=-1) @ normalize(self.store.keys, dim=-1).to(keys).mT
        logits = logits - torch.inf
        logits[:, self.store.labels] = self.beta * cosines
        return logits


def for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """What a task decides of a memory over pixels: its classes and the length of its keys."""
    classes = fields["labels"].classes
    return {"num_classes": classes, "key_dim": math.prod(fields["inputs"].shape)}


def _flat(responses: Tensor) -> Tensor:
    return responses.flatten(1)


def _is_model(module: nn.Module) -> bool:
    return hasattr(module, "activations") and hasattr(module, "state_tree")
