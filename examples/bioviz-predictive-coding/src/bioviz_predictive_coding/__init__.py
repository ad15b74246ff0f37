"""Predictive coding: a network that relaxes to its targets and learns from local errors."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_predictive_coding.relaxation import Relaxed as Relaxed
    from bioviz_predictive_coding.relaxation import relax as relax
    from bioviz_predictive_coding.rule import PredictiveCoding as PredictiveCoding

__version__ = "0.1.0"

_PUBLIC = {"PredictiveCoding": "rule", "Relaxed": "relaxation", "relax": "relaxation"}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
