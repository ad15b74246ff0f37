"""Interfaces, registry, runs and reports for biologically inspired vision models.

    import bioviz_core as bv

    record = bv.run("butd/digits", preset="smoke")
    record.summary

Importing this package loads the standard library only; every name below is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

__version__ = "0.1.0"

_MODULES = {
    "errors": (
        "AmbiguousNameError ApiMismatchError BiovizError BrokenPluginError CheckpointError "
        "ConfigError DataError DivergedError IncompatibleError MissingDependencyError Problem "
        "RegistrationError RunLockedError RunStateError StoppedError SweepError UnknownNameError"
    ),
    "hooks": "PLUGIN_API hookimpl",
    "interfaces": (
        "Analysis Batch Claim Energetic Experiment HasObjective LearningRule LocalRule Model "
        "Objective Part Refusal Result Step StimulusSource Synapse Synaptic missing refusals"
    ),
    "lab.compare": "compare",
    "lab.config": "Config Field ModelInput",
    "lab.execute": "resume run",
    "lab.fit": "collect fit",
    "lab.info": "cite doctor info",
    "lab.pretrained": "load_model save_model",
    "lab.record": "RunRecord open_run runs",
    "lab.tasks": "for_task models_for",
    "lab.report.build": "report",
    "refs": "Paper Ref",
    "registry": "Plugin Registrar Registry isolated_registry",
}
_ASKED = ("create", "get", "list", "plugins", "register")
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name in _ASKED:
        return getattr(import_module("bioviz_core.registry").registry(), name)
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> Sequence[str]:
    return sorted([*_PUBLIC, *_ASKED, "__version__"])
