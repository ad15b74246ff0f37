"""What bioviz-predictive-coding registers; nothing here is imported before it is used."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl

BIOVIZ_API = 1
WHITTINGTON_BOGACZ = """@article{whittington2017approximation,
  title = {An Approximation of the Error Backpropagation Algorithm in a Predictive Coding Network
           with Local Hebbian Synaptic Plasticity},
  author = {Whittington, James C. R. and Bogacz, Rafal},
  journal = {Neural Computation},
  volume = {29},
  number = {5},
  pages = {1229--1262},
  year = {2017},
  doi = {10.1162/NECO_a_00949}
}"""


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
    registry.paper(
        "predictive-coding",
        "An approximation of backpropagation in a predictive coding network",
        authors=("James C. R. Whittington", "Rafal Bogacz"),
        year=2017,
        doi="10.1162/NECO_a_00949",
        bibtex=WHITTINGTON_BOGACZ,
    )
    registry.rule(
        "predictive-coding",
        "bioviz_predictive_coding.rule:PredictiveCoding",
        summary="Activity relaxes to the target, weights learn from local errors",
        framework="torch",
        paper="predictive-coding",
    )
