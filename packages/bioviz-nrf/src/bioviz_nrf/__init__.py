"""Neural random fields with latents, and samplers of any energy.

    from bioviz_nrf import Gaussian, langevin, sample

    kernel = langevin(Gaussian(precision, mean), step_size=0.4)
    sample(kernel, kernel.init(start, generator=generator), steps=1000, burn_in=100)

Importing this package loads the standard library only; every name below is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_nrf.architecture import ArchConfig as ArchConfig
    from bioviz_nrf.architecture import FieldConfig as FieldConfig
    from bioviz_nrf.architecture import architectures as architectures
    from bioviz_nrf.architecture import load_architecture as load_architecture
    from bioviz_nrf.energy import EnergyModel as EnergyModel
    from bioviz_nrf.errors import ArchitectureError as ArchitectureError
    from bioviz_nrf.errors import DivergenceError as DivergenceError
    from bioviz_nrf.errors import NotSamplesWarning as NotSamplesWarning
    from bioviz_nrf.errors import ShapeError as ShapeError
    from bioviz_nrf.field import NRF as NRF
    from bioviz_nrf.gradients.autograd import from_energy as from_energy
    from bioviz_nrf.replay_buffer import ReplayBuffer as ReplayBuffer
    from bioviz_nrf.rules.persistent_contrastive_divergence import (
        PersistentContrastiveDivergence as PersistentContrastiveDivergence,
    )
    from bioviz_nrf.sampling.bounds import Bounds as Bounds
    from bioviz_nrf.sampling.bounds import Box as Box
    from bioviz_nrf.sampling.bounds import HalfLine as HalfLine
    from bioviz_nrf.sampling.kernels import Clamp as Clamp
    from bioviz_nrf.sampling.kernels import SamplerConfig as SamplerConfig
    from bioviz_nrf.sampling.kernels import langevin as langevin
    from bioviz_nrf.sampling.mass import Mass as Mass
    from bioviz_nrf.sampling.sample import sample as sample
    from bioviz_nrf.sampling.targets import Gaussian as Gaussian

_MODULES = {
    "architecture": "ArchConfig FieldConfig architectures load_architecture",
    "energy": "EnergyModel",
    "errors": "ArchitectureError DivergenceError NotSamplesWarning ShapeError",
    "field": "NRF",
    "gradients.autograd": "from_energy",
    "replay_buffer": "ReplayBuffer",
    "rules.persistent_contrastive_divergence": "PersistentContrastiveDivergence",
    "sampling.bounds": "Bounds Box HalfLine",
    "sampling.kernels": "Clamp SamplerConfig langevin",
    "sampling.mass": "Mass",
    "sampling.sample": "sample",
    "sampling.targets": "Gaussian",
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> Sequence[str]:
    return sorted(_PUBLIC)
