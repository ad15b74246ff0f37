"""Associative memory for vision: retrieval, stores one can write to, and models that use them.

    from bioviz_hopfield import AssociativeMemory

    AssociativeMemory(patterns, beta=8.0).retrieve(noisy)

Importing this package loads the standard library only; every name below is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_hopfield.errors import MemoryFullError as MemoryFullError
    from bioviz_hopfield.errors import NotConvergedWarning as NotConvergedWarning
    from bioviz_hopfield.functional import RetrievalInfo as RetrievalInfo
    from bioviz_hopfield.functional import energy as energy
    from bioviz_hopfield.functional import retrieval_info as retrieval_info
    from bioviz_hopfield.functional import retrieve as retrieve
    from bioviz_hopfield.models.memory import HasMemory as HasMemory
    from bioviz_hopfield.models.memory import Memory as Memory
    from bioviz_hopfield.rules.prototype import Prototype as Prototype
    from bioviz_hopfield.store import AssociativeMemory as AssociativeMemory
    from bioviz_hopfield.store import MemoryStore as MemoryStore
    from bioviz_hopfield.streaming import retrieve_stream as retrieve_stream
    from bioviz_hopfield.theory import capacity_bound as capacity_bound

_MODULES = {
    "errors": "MemoryFullError NotConvergedWarning",
    "functional": "RetrievalInfo energy retrieval_info retrieve",
    "models.memory": "HasMemory Memory",
    "rules.prototype": "Prototype",
    "store": "AssociativeMemory MemoryStore",
    "streaming": "retrieve_stream",
    "theory": "capacity_bound",
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> Sequence[str]:
    return sorted(_PUBLIC)
