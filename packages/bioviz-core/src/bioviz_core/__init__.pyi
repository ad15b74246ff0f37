"""What type checkers and editors know of the lazy names in `__init__.py`."""

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
from bioviz_core.lab.tasks import for_task as for_task
from bioviz_core.lab.tasks import models_for as models_for
from bioviz_core.refs import Paper as Paper
from bioviz_core.refs import Ref as Ref
from bioviz_core.registry import Plugin as Plugin
from bioviz_core.registry import Registrar as Registrar
from bioviz_core.registry import Registry as Registry
from bioviz_core.registry import isolated_registry as isolated_registry

_registry = Registry()
create, get, list = _registry.create, _registry.get, _registry.list
plugins, register = _registry.plugins, _registry.register

__version__: str
