"""What bioviz-butd registers."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl

ABEL_ULLMAN = """\
@inproceedings{abel2024biologically,
  title = {Biologically-Inspired Learning Model for Instructed Vision},
  author = {Abel, Roy and Ullman, Shimon},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2024},
  eprint = {2306.02415},
  archivePrefix = {arXiv}
}"""
LILLICRAP = """\
@article{lillicrap2016random,
  title = {Random synaptic feedback weights support error backpropagation for deep learning},
  author = {Lillicrap, Timothy P. and Cownden, Daniel and Tweed, Douglas B. and Akerman, Colin J.},
  journal = {Nature Communications},
  volume = {7},
  pages = {13276},
  year = {2016},
  doi = {10.1038/ncomms13276}
}"""


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
    registry.paper(
        "abel-ullman",
        "Biologically-Inspired Learning Model for Instructed Vision",
        authors=("Roy Abel", "Shimon Ullman"),
        year=2024,
        bibtex=ABEL_ULLMAN,
    )
    registry.paper(
        "feedback-alignment",
        "Random synaptic feedback weights support error backpropagation for deep learning",
        authors=("Timothy Lillicrap", "Daniel Cownden", "Douglas Tweed", "Colin Akerman"),
        year=2016,
        doi="10.1038/ncomms13276",
        bibtex=LILLICRAP,
    )
    for name, module, summary in (
        ("fc", "fc", "Fully connected network with a top-down pass"),
        ("conv", "conv", "Small convolutional network with a top-down pass"),
        ("simple", "conv", "The paper's simple net with a top-down pass"),
    ):
        function = f"bioviz_butd.models.{module}:{name}"
        registry.model(
            name, f"{function}_net", summary=summary, framework="torch", paper="abel-ullman",
            for_task=f"{function}_for_task",
        )  # fmt: skip
    registry.rule(
        "counter-hebb", "bioviz_butd.rules.counter_hebb:CounterHebb", framework="torch",
        summary="Update by the activities at a synapse's two ends", paper="abel-ullman",
    )  # fmt: skip
    registry.rule(
        "feedback-alignment", "bioviz_butd.rules.feedback_alignment:FeedbackAlignment",
        framework="torch", summary="The error descends through fixed random weights",
        paper="feedback-alignment",
    )  # fmt: skip
    registry.rule(
        "backprop", "bioviz_butd.rules.backprop:Backprop", framework="torch",
        summary="Autograd through a converted network, the control",
    )  # fmt: skip
    registry.analysis(
        "weight-alignment", "bioviz_butd.analyses.weight_alignment:WeightAlignment",
        summary="Angle and norm ratio of bottom-up and top-down weights", paper="abel-ullman",
    )  # fmt: skip
    registry.analysis(
        "saliency", "bioviz_butd.analyses.saliency:Saliency",
        summary="Where the top-down signal lands on the image",
    )  # fmt: skip
    registry.experiment(
        "digits", "bioviz_butd.experiments.digits:Digits", framework="torch",
        config="bioviz_butd.experiments.digits:DigitsConfig",
        summary="Counter-Hebb against backprop on real digits", paper="abel-ullman",
        tags=("certificate",),
    )  # fmt: skip
    registry.experiment(
        "mnist", "bioviz_butd.experiments.mnist:Mnist", framework="torch",
        config="bioviz_butd.experiments.mnist:MnistConfig",
        summary="Separate weights against backprop on MNIST", paper="abel-ullman",
    )  # fmt: skip
