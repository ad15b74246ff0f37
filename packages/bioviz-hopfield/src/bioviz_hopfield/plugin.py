"""What bioviz-hopfield registers."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl

RAMSAUER = """@inproceedings{ramsauer2021hopfield,
  title = {Hopfield Networks is All You Need},
  author = {Ramsauer, Hubert and Sch{\\"a}fl, Bernhard and Lehner, Johannes and others},
  booktitle = {International Conference on Learning Representations},
  year = {2021},
  eprint = {2008.02217},
  archivePrefix = {arXiv}
}"""
SNELL = """@inproceedings{snell2017prototypical,
  title = {Prototypical Networks for Few-shot Learning},
  author = {Snell, Jake and Swersky, Kevin and Zemel, Richard},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2017},
  eprint = {1703.05175},
  archivePrefix = {arXiv}
}"""


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
    registry.paper(
        "modern-hopfield",
        "Hopfield Networks is All You Need",
        authors=("Hubert Ramsauer", "Bernhard Schäfl", "Johannes Lehner", "et al."),
        year=2021,
        doi="10.48550/arXiv.2008.02217",
        bibtex=RAMSAUER,
    )
    registry.paper(
        "prototypes",
        "Prototypical Networks for Few-shot Learning",
        authors=("Jake Snell", "Kevin Swersky", "Richard Zemel"),
        year=2017,
        doi="10.48550/arXiv.1703.05175",
        bibtex=SNELL,
    )
    registry.model(
        "memory",
        "bioviz_hopfield.models.memory:Memory",
        summary="A class memory over any model's features, or over pixels",
        framework="torch",
        paper="modern-hopfield",
        for_task="bioviz_hopfield.models.memory:for_task",
    )
    registry.rule(
        "prototype",
        "bioviz_hopfield.rules.prototype:Prototype",
        summary="Writes class means into a memory, exactly and without gradients",
        framework="torch",
        paper="prototypes",
    )
    registry.experiment(
        "capacity",
        "bioviz_hopfield.experiments.capacity:Capacity",
        config="bioviz_hopfield.experiments.capacity:CapacityConfig",
        summary="What is proved of retrieval, and recall by dimension",
        framework="torch",
        paper="modern-hopfield",
        tags=("certificate",),
    )
