"""What bioviz-oja registers; nothing here is imported before it is used."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl

BIOVIZ_API = 1
OJA = """@article{oja1982simplified,
  title = {Simplified neuron model as a principal component analyzer},
  author = {Oja, Erkki},
  journal = {Journal of Mathematical Biology},
  volume = {15},
  pages = {267--273},
  year = {1982},
  doi = {10.1007/BF00275687}
}"""


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
    registry.paper(
        "oja",
        "Simplified neuron model as a principal component analyzer",
        authors=("Erkki Oja",),
        year=1982,
        doi="10.1007/BF00275687",
        bibtex=OJA,
    )
    registry.rule(
        "oja",
        "bioviz_oja.rule:Oja",
        summary="Hebbian learning that finds principal components",
        paper="oja",
        tags=["hebbian"],
    )
