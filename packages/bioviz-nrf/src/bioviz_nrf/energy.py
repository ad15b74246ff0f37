"""What a sampler and a learning rule need of a model: one energy per chain."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol, runtime_checkable

from bioviz_core.interfaces import Energetic
from torch import Tensor

from bioviz_nrf.sampling.bounds import Bounds


@runtime_checkable
class EnergyModel(Energetic, Protocol):
    """An energetic model that also says where its states live.

    On a box the Boltzmann law is always proper; on an unbounded domain the energy must grow.
    """

    domain: Bounds | None

    def layer_energies(self, states: Mapping[str, Tensor], /) -> dict[str, Tensor]:
        """What each unit adds to the energy, in the states' shapes."""
