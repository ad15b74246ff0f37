"""What bioviz-nrf registers."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl

SONG = """@article{song2018neural,
  title = {Learning Neural Random Fields with Inclusive Auxiliary Generators},
  author = {Song, Yunfu and Ou, Zhijian},
  journal = {arXiv preprint arXiv:1806.00271},
  year = {2018}
}"""
TIELEMAN = """@inproceedings{tieleman2008training,
  title = {Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient},
  author = {Tieleman, Tijmen},
  booktitle = {International Conference on Machine Learning},
  year = {2008},
  doi = {10.1145/1390156.1390290}
}"""

LEIMKUHLER = """@article{leimkuhler2013robust,
  title = {Robust and efficient configurational molecular sampling via {Langevin} dynamics},
  author = {Leimkuhler, Benedict and Matthews, Charles},
  journal = {The Journal of Chemical Physics},
  volume = {138},
  pages = {174102},
  year = {2013},
  doi = {10.1063/1.4802990}
}"""


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
    registry.paper(
        "neural-random-field",
        "Learning Neural Random Fields with Inclusive Auxiliary Generators",
        authors=("Yunfu Song", "Zhijian Ou"),
        year=2018,
        doi="10.48550/arXiv.1806.00271",
        bibtex=SONG,
    )
    registry.paper(
        "persistent-contrastive-divergence",
        "Training Restricted Boltzmann Machines using Approximations to the Likelihood Gradient",
        authors=("Tijmen Tieleman",),
        year=2008,
        doi="10.1145/1390156.1390290",
        bibtex=TIELEMAN,
    )
    registry.paper(
        "langevin-splittings",
        "Robust and efficient configurational molecular sampling via Langevin dynamics",
        authors=("Benedict Leimkuhler", "Charles Matthews"),
        year=2013,
        doi="10.1063/1.4802990",
        bibtex=LEIMKUHLER,
    )
    registry.model(
        "field",
        "bioviz_nrf.field:NRF",
        summary="A neural random field: an energy over an image and latents",
        framework="torch",
        paper="neural-random-field",
        for_task="bioviz_nrf.field:for_task",
    )
    registry.rule(
        "persistent-contrastive-divergence",
        "bioviz_nrf.rules.persistent_contrastive_divergence:PersistentContrastiveDivergence",
        summary="Learns an energy from data and chains that go on sampling",
        framework="torch",
        paper="persistent-contrastive-divergence",
    )
    registry.experiment(
        "gaussian-check",
        "bioviz_nrf.experiments.gaussian_check:GaussianCheck",
        config="bioviz_nrf.experiments.gaussian_check:GaussianCheckConfig",
        summary="Every kernel against laws with known moments",
        framework="torch",
        paper="langevin-splittings",
        tags=("certificate",),
    )
