"""What bioviz-fastweights registers."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl

LI = """@inproceedings{li2026rapid,
  title = {Modeling Rapid Contextual Learning in the Visual Cortex with Fast-Weight Deep
           Autoencoder Networks},
  author = {Li, Yue and Wang, Weifan and Lee, Tai Sing},
  booktitle = {AAAI Conference on Artificial Intelligence},
  year = {2026},
  eprint = {2508.04988},
  archivePrefix = {arXiv}
}"""
HU = """@inproceedings{hu2022lora,
  title = {LoRA: Low-Rank Adaptation of Large Language Models},
  author = {Hu, Edward J. and Shen, Yelong and Wallis, Phillip and Allen-Zhu, Zeyuan and others},
  booktitle = {International Conference on Learning Representations},
  year = {2022},
  eprint = {2106.09685},
  archivePrefix = {arXiv}
}"""


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
    registry.paper(
        "rapid-contextual-learning",
        "Modeling Rapid Contextual Learning in the Visual Cortex with Fast-Weight Deep Autoencoder"
        " Networks",
        authors=("Yue Li", "Weifan Wang", "Tai Sing Lee"),
        year=2026,
        doi="10.48550/arXiv.2508.04988",
        bibtex=LI,
    )
    registry.paper(
        "lora",
        "LoRA: Low-Rank Adaptation of Large Language Models",
        authors=("Edward J. Hu", "Yelong Shen", "Phillip Wallis", "et al."),
        year=2022,
        doi="10.48550/arXiv.2106.09685",
        bibtex=HU,
    )
    registry.model(
        "vit-autoencoder",
        "bioviz_fastweights.models.autoencoder:ViTAutoencoder",
        summary="A vision transformer that reconstructs images, with fast weights",
        framework="torch",
        paper="rapid-contextual-learning",
        for_task="bioviz_fastweights.models.autoencoder:for_task",
    )
    registry.rule(
        "gradient-write",
        "bioviz_fastweights.rules.gradient_write:GradientWrite",
        summary="Writes fast weights by gradient on the model's own objective",
        framework="torch",
        paper="lora",
    )
    registry.experiment(
        "contexts",
        "bioviz_fastweights.experiments.contexts:Contexts",
        config="bioviz_fastweights.experiments.contexts:ContextsConfig",
        summary="Several memories in one network, apart to the bit",
        framework="torch",
        paper="rapid-contextual-learning",
        tags=("certificate",),
    )
