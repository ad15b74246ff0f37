"""Bottom-up/top-down networks and Counter-Hebb learning.

    net = convert(timm.create_model("resnet18", num_classes=10), objective=cross_entropy)
    rule = CounterHebb(partial(torch.optim.AdamW, lr=1e-3))

Importing this package loads no framework; every name below is imported on first use.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bioviz_butd.analyses.saliency import Saliency as Saliency
    from bioviz_butd.analyses.saliency import td_saliency as td_saliency
    from bioviz_butd.analyses.weight_alignment import Alignment as Alignment
    from bioviz_butd.analyses.weight_alignment import WeightAlignment as WeightAlignment
    from bioviz_butd.analyses.weight_alignment import alignment_report as alignment_report
    from bioviz_butd.conversion import convert as convert
    from bioviz_butd.errors import DetachedError as DetachedError
    from bioviz_butd.errors import MissingTraceError as MissingTraceError
    from bioviz_butd.errors import StaleTraceError as StaleTraceError
    from bioviz_butd.errors import UnsupportedOpError as UnsupportedOpError
    from bioviz_butd.models.conv import conv_net as conv_net
    from bioviz_butd.models.conv import simple_net as simple_net
    from bioviz_butd.models.fc import fc_net as fc_net
    from bioviz_butd.network import Network as Network
    from bioviz_butd.objectives import ClosedForm as ClosedForm
    from bioviz_butd.objectives import binary_cross_entropy as binary_cross_entropy
    from bioviz_butd.objectives import binary_cross_entropy_with as binary_cross_entropy_with
    from bioviz_butd.objectives import cross_entropy as cross_entropy
    from bioviz_butd.objectives import cross_entropy_with as cross_entropy_with
    from bioviz_butd.objectives import mean_squared_error as mean_squared_error
    from bioviz_butd.objectives import mean_squared_error_with as mean_squared_error_with
    from bioviz_butd.objectives import output_error as output_error
    from bioviz_butd.ops import register_op_rule as register_op_rule
    from bioviz_butd.ops.op import Op as Op
    from bioviz_butd.rules.backprop import Backprop as Backprop
    from bioviz_butd.rules.counter_hebb import BackForward as BackForward
    from bioviz_butd.rules.counter_hebb import CounterHebb as CounterHebb
    from bioviz_butd.rules.feedback_alignment import FeedbackAlignment as FeedbackAlignment
    from bioviz_butd.trace import Trace as Trace

__version__ = "0.1.0"

_MODULES = {
    "analyses.saliency": "Saliency td_saliency",
    "analyses.weight_alignment": "Alignment WeightAlignment alignment_report",
    "conversion": "convert",
    "errors": "DetachedError MissingTraceError StaleTraceError UnsupportedOpError",
    "models.conv": "conv_net simple_net",
    "models.fc": "fc_net",
    "network": "Network",
    "ops": "register_op_rule",
    "ops.op": "Op",
    "objectives": (
        "ClosedForm binary_cross_entropy binary_cross_entropy_with cross_entropy "
        "cross_entropy_with mean_squared_error mean_squared_error_with output_error"
    ),
    "rules.backprop": "Backprop",
    "rules.counter_hebb": "BackForward CounterHebb",
    "rules.feedback_alignment": "FeedbackAlignment",
    "trace": "Trace",
}
_PUBLIC = {name: module for module, names in _MODULES.items() for name in names.split()}


def __getattr__(name: str) -> object:
    if name not in _PUBLIC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PUBLIC[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*_PUBLIC, "__version__"])
