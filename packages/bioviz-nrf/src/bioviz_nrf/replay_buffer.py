"""Chains that go on from where they were: whole joint states, by slot."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from bioviz_nrf.errors import ShapeError


class ReplayBuffer:
    """Joint states in preallocated tensors `(capacity, ...)`; `state_dict` holds all of them.

    `sample` gives chains with their slots, `commit` puts them back there. All randomness comes from
    the generator that is passed.
    """

    def __init__(self, like: Mapping[str, Tensor], *, capacity: int = 10_000) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self.slots = {
            name: state.new_zeros(capacity, *state.shape[1:]) for name, state in like.items()
        }
        self.age = torch.zeros(capacity, dtype=torch.int64)
        self.filled, self.refused = 0, 0

    def __len__(self) -> int:
        return self.filled

    def sample(
        self, fresh: Mapping[str, Tensor], *, keep: float, generator: torch.Generator
    ) -> tuple[dict[str, Tensor], Tensor, float]:
        """As many chains as `fresh` has, their slots, and the share of them that began anew.

        Each has a slot of its own. With probability `1 - keep`, and where the slots in use do not
        suffice, it begins anew from `fresh`: in a free slot while there is one, else in its own.
        """
        self._check(fresh)
        count = len(next(iter(fresh.values())))
        if count > self.capacity:
            raise ValueError(f"{count} chains do not fit into {self.capacity} slots")
        device = generator.device
        drawn = torch.randperm(self.filled, generator=generator, device=device)[:count].cpu()
        anew = (torch.rand(count, generator=generator, device=device) >= keep).cpu()
        anew[len(drawn) :] = True
        slots = torch.cat([drawn, torch.zeros(count - len(drawn), dtype=torch.int64)])
        # From the end: the chains that have no slot come first, and there is room for all of them.
        movers = anew.nonzero().flatten().flip(0)[: self.capacity - self.filled]
        slots[movers] = self.filled + torch.arange(len(movers))
        self.filled += len(movers)
        self.age[slots[anew]] = 0
        for name, kept in self.slots.items():
            kept[slots[anew]] = fresh[name][anew].to(kept)
        chains = {name: kept[slots].clone() for name, kept in self.slots.items()}
        return chains, slots, float(anew.double().mean())

    def commit(self, chains: Mapping[str, Tensor], slots: Tensor) -> None:
        """Put chains back. One that is not finite is not: its slot stays, and `refused` counts."""
        self._check(chains)
        finite = torch.stack([c.flatten(1).isfinite().all(1) for c in chains.values()]).all(0).cpu()
        self.refused += int((~finite).sum())
        self.age[slots[finite]] += 1
        for name, kept in self.slots.items():
            kept[slots[finite]] = chains[name][finite].to(kept)

    @property
    def mean_age(self) -> float:
        """How often a chain has been put back, on average."""
        return float(self.age[: self.filled].double().mean()) if self.filled else 0.0

    def state_dict(self) -> dict[str, Any]:
        """Everything, as copies."""
        return {
            "slots": {name: kept.clone() for name, kept in self.slots.items()},
            "age": self.age.clone(),
            "filled": self.filled,
            "refused": self.refused,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a copy; `ShapeError` where it is of another architecture or capacity."""
        mine, theirs = _layout(self.slots), _layout(state["slots"])
        if mine != theirs:
            raise ShapeError(f"the buffer holds {mine}, the stored one {theirs}: start a new one")
        for name, kept in self.slots.items():
            kept.copy_(state["slots"][name])
        self.age.copy_(state["age"])
        self.filled, self.refused = int(state["filled"]), int(state["refused"])

    def _check(self, chains: Mapping[str, Tensor]) -> None:
        mine = {name: tuple(kept.shape[1:]) for name, kept in self.slots.items()}
        given = {name: tuple(state.shape[1:]) for name, state in chains.items()}
        if mine != given:
            raise ShapeError(f"the buffer holds chains of {mine}, got {given}")


def _layout(slots: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(kept.shape) for name, kept in slots.items()}
