"""Interfaces, registry, runs and reports for biologically inspired vision models.

    import bioviz_core as bv

    record = bv.run("butd/digits", preset="smoke")
    record.summary

Importing this package loads the standard library only; every name below is imported on first use.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_core.errors import *  # noqa: F403
    from bioviz_core.hooks import PLUGIN_API as PLUGIN_API
    from bioviz_core.hooks import hookimpl as hookimpl
    from bioviz_core.interfaces import Analysis as Analysis
    from bioviz_core.interfaces import Batch as Batch
    from bioviz_core.interfaces import Claim as Claim
    from bioviz_core.interfaces import Energetic as Energetic
    from bioviz_core.interfaces import Experiment as Experiment
    from bioviz_core.interfaces import HasObjective as HasObjective
    from bioviz_core.interfaces import LearningRule as LearningRule
    from bioviz_core.interfaces import LocalRule as LocalRule
    from bioviz_core.interfaces import Model as Model
    from bioviz_core.interfaces import Objective as Objective
    from bioviz_core.interfaces import Part as Part
    from bioviz_core.interfaces import Refusal as Refusal
    from bioviz_core.interfaces import Result as Result
    from bioviz_core.interfaces import Step as Step
    from bioviz_core.interfaces import StimulusSource as StimulusSource
    from bioviz_core.interfaces import Synapse as Synapse
    from bioviz_core.interfaces import Synaptic as Synaptic
    from bioviz_core.interfaces import missing as missing
    from bioviz_core.interfaces import refusals as refusals
    from bioviz_core.lab.compare import compare as compare
    from bioviz_core.lab.config import Config as Config
    from bioviz_core.lab.config import Field as Field
    from bioviz_core.lab.config import ModelInput as ModelInput
    from bioviz_core.lab.execute import resume as resume
    from bioviz_core.lab.execute import run as run
    from bioviz_core.lab.fit import collect as collect
    from bioviz_core.lab.fit import fit as fit
    from bioviz_core.lab.info import cite as cite
    from bioviz_core.lab.info import doctor as doctor
    from bioviz_core.lab.info import info as info
    from bioviz_core.lab.pretrained import load_model as load_model
    from bioviz_core.lab.pretrained import save_model as save_model
    from bioviz_core.lab.record import RunRecord as RunRecord
    from bioviz_core.lab.record import open_run as open_run
    from bioviz_core.lab.record import runs as runs
    from bioviz_core.lab.report.build import report as report
    from bioviz_core.refs import Paper as Paper
    from bioviz_core.refs import Ref as Ref
    from bioviz_core.registry import Plugin as Plugin
    from bioviz_core.registry import Registrar as Registrar
    from bioviz_core.registry import Registry as Registry
    from bioviz_core.registry import isolated_registry as isolated_registry

    _registry = Registry()
    create, get, list = _registry.create, _registry.get, _registry.list
    plugins, register = _registry.plugins, _registry.register

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
