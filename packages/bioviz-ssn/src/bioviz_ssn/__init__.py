"""Stabilized supralinear networks in JAX: steady states with implicit gradients.

Every public name is imported on first use; importing the package imports no framework.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_ssn.ablations import CONFIGURATIONS as CONFIGURATIONS
    from bioviz_ssn.ablations import Configuration as Configuration
    from bioviz_ssn.ablations import configuration as configuration
    from bioviz_ssn.analyses.contrast import contrast_response as contrast_response
    from bioviz_ssn.analyses.mvpa import learning_modulation as learning_modulation
    from bioviz_ssn.analyses.operating_point import operating_point as operating_point
    from bioviz_ssn.analyses.operating_point import steady_rates as steady_rates
    from bioviz_ssn.analyses.paradoxical import paradoxical_scan as paradoxical_scan
    from bioviz_ssn.analyses.plaids import plaid_weights as plaid_weights
    from bioviz_ssn.analyses.size import size_tuning as size_tuning
    from bioviz_ssn.analyses.tuning_curves import tuning_curves as tuning_curves
    from bioviz_ssn.errors import FixedPointError as FixedPointError
    from bioviz_ssn.errors import InitializationError as InitializationError
    from bioviz_ssn.errors import ParameterError as ParameterError
    from bioviz_ssn.gabor import DriveTable as DriveTable
    from bioviz_ssn.gabor import GaborBank as GaborBank
    from bioviz_ssn.geometry import GridSpec as GridSpec
    from bioviz_ssn.geometry import orientation_map as orientation_map
    from bioviz_ssn.geometry import ring_distance as ring_distance
    from bioviz_ssn.linearization import jacobian as jacobian
    from bioviz_ssn.linearization import stability as stability
    from bioviz_ssn.linearization import stability_penalty as stability_penalty
    from bioviz_ssn.linearization import susceptibility as susceptibility
    from bioviz_ssn.losses import LossWeights as LossWeights
    from bioviz_ssn.losses import discrimination_loss as discrimination_loss
    from bioviz_ssn.models.cohort import Cohort as Cohort
    from bioviz_ssn.models.network import Network as Network
    from bioviz_ssn.models.ring import RingSSN as RingSSN
    from bioviz_ssn.models.two_layer import TwoLayerFixedPoint as TwoLayerFixedPoint
    from bioviz_ssn.models.two_layer import TwoLayerSSN as TwoLayerSSN
    from bioviz_ssn.models.two_population import TwoPopulationSSN as TwoPopulationSSN
    from bioviz_ssn.models.v1_layers import MiddleLayer as MiddleLayer
    from bioviz_ssn.models.v1_layers import SuperficialLayer as SuperficialLayer
    from bioviz_ssn.parameters import LayerParams as LayerParams
    from bioviz_ssn.parameters import SSNParams as SSNParams
    from bioviz_ssn.power_law import PowerLaw as PowerLaw
    from bioviz_ssn.psychophysics import Psychometric as Psychometric
    from bioviz_ssn.psychophysics import Staircase as Staircase
    from bioviz_ssn.psychophysics import StaircaseState as StaircaseState
    from bioviz_ssn.psychophysics import fit_psychometric as fit_psychometric
    from bioviz_ssn.rejection import Accepted as Accepted
    from bioviz_ssn.rejection import Bounds as Bounds
    from bioviz_ssn.rejection import Ranges as Ranges
    from bioviz_ssn.rejection import accepted_cohort as accepted_cohort
    from bioviz_ssn.rules.implicit_gradient import ImplicitGradient as ImplicitGradient
    from bioviz_ssn.rules.perceptual_learning import PerceptualLearning as PerceptualLearning
    from bioviz_ssn.simulation import Trajectory as Trajectory
    from bioviz_ssn.simulation import simulate as simulate
    from bioviz_ssn.steady_state import FixedPoint as FixedPoint
    from bioviz_ssn.steady_state import System as System
    from bioviz_ssn.steady_state import fixed_point as fixed_point
    from bioviz_ssn.stimuli import StimulusSpec as StimulusSpec
    from bioviz_ssn.stimuli import grating as grating
    from bioviz_ssn.tasks import FineTask as FineTask
    from bioviz_ssn.tasks import GeneralTask as GeneralTask
    from bioviz_ssn.tasks import ImageTrials as ImageTrials
    from bioviz_ssn.tasks import Trials as Trials

_MODULES = {
    "ablations": "CONFIGURATIONS Configuration configuration",
    "analyses.contrast": "contrast_response",
    "analyses.mvpa": "learning_modulation",
    "analyses.operating_point": "operating_point steady_rates",
    "analyses.paradoxical": "paradoxical_scan",
    "analyses.plaids": "plaid_weights",
    "analyses.size": "size_tuning",
    "analyses.tuning_curves": "tuning_curves",
    "errors": "FixedPointError InitializationError ParameterError",
    "steady_state": "FixedPoint System fixed_point",
    "gabor": "DriveTable GaborBank",
    "geometry": "GridSpec orientation_map ring_distance",
    "linearization": "jacobian stability stability_penalty susceptibility",
    "losses": "LossWeights discrimination_loss",
    "models.cohort": "Cohort",
    "models.network": "Network",
    "models.ring": "RingSSN",
    "models.two_layer": "TwoLayerFixedPoint TwoLayerSSN",
    "models.two_population": "TwoPopulationSSN",
    "models.v1_layers": "MiddleLayer SuperficialLayer",
    "parameters": "LayerParams SSNParams",
    "power_law": "PowerLaw",
    "psychophysics": "Psychometric Staircase StaircaseState fit_psychometric",
    "rejection": "Accepted Bounds Ranges accepted_cohort",
    "rules.implicit_gradient": "ImplicitGradient",
    "rules.perceptual_learning": "PerceptualLearning",
    "simulation": "Trajectory simulate",
    "stimuli": "StimulusSpec grating",
    "tasks": "FineTask GeneralTask ImageTrials Trials",
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> Sequence[str]:
    return sorted(_PUBLIC)
