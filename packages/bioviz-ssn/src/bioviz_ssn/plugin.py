"""What bioviz-ssn registers."""

from __future__ import annotations

from bioviz_core import Registrar, hookimpl


@hookimpl
def bioviz_register(registry: Registrar) -> None:
    """Declare what this package provides."""
    registry.paper(
        "ahmadian-2013",
        "Analysis of the stabilized supralinear network",
        authors=("Yashar Ahmadian", "Daniel B. Rubin", "Kenneth D. Miller"),
        year=2013,
        doi="10.1162/NECO_a_00472",
        bibtex="""@article{ahmadian2013ssn,
  title = {Analysis of the stabilized supralinear network},
  author = {Ahmadian, Yashar and Rubin, Daniel B. and Miller, Kenneth D.},
  journal = {Neural Computation}, volume = {25}, number = {8}, pages = {1994--2037}, year = {2013},
  doi = {10.1162/NECO_a_00472}
}""",
    )
    registry.paper(
        "rubin-2015",
        "The stabilized supralinear network: a unifying circuit motif underlying multi-input "
        "integration in sensory cortex",
        authors=("Daniel B. Rubin", "Stephen D. Van Hooser", "Kenneth D. Miller"),
        year=2015,
        doi="10.1016/j.neuron.2014.12.026",
        bibtex="""@article{rubin2015ssn,
  title = {The stabilized supralinear network: a unifying circuit motif underlying multi-input
    integration in sensory cortex},
  author = {Rubin, Daniel B. and Van Hooser, Stephen D. and Miller, Kenneth D.},
  journal = {Neuron}, volume = {85}, number = {2}, pages = {402--417}, year = {2015},
  doi = {10.1016/j.neuron.2014.12.026}
}""",
    )
    registry.paper(
        "jozsa-ssn",
        "SSN-VisualCortex: a two-layer model of orientation perceptual learning",
        authors=("Monika Jozsa", "Pecci", "Yashar Ahmadian", "Zoe Kourtzi"),
        year=2024,
        bibtex="""@misc{jozsassn,
  title = {SSN-VisualCortex: a two-layer model of orientation perceptual learning},
  author = {Jozsa, Monika and Pecci and Ahmadian, Yashar and Kourtzi, Zoe},
  year = {2024}, howpublished = {https://github.com/monikajozsa/SSN-VisualCortex}
}""",
    )
    registry.paper(
        "jia-2020",
        "Recurrent processing drives perceptual plasticity",
        authors=("Ke Jia", "Elisa Zamboni", "Valentin Kemper", "Zoe Kourtzi"),
        year=2020,
        doi="10.1016/j.cub.2020.08.016",
        bibtex="""@article{jia2020recurrent,
  title = {Recurrent processing drives perceptual plasticity},
  author = {Jia, Ke and Zamboni, Elisa and Kemper, Valentin and others},
  journal = {Current Biology}, year = {2020}, doi = {10.1016/j.cub.2020.08.016}
}""",
    )
    models = "bioviz_ssn.models"
    registry.model(
        "network",
        f"{models}.network:Network.create",
        summary="Any network of supralinear cells, from its weights",
        framework="jax",
        paper="ahmadian-2013",
    )
    registry.model(
        "two-population",
        f"{models}.two_population:TwoPopulationSSN.create",
        summary="One excitatory and one inhibitory population",
        framework="jax",
        paper="ahmadian-2013",
        for_task=f"{models}.two_population:for_task",
    )
    registry.model(
        "ring",
        f"{models}.ring:RingSSN.create",
        summary="Cells on a ring of preferred orientations",
        framework="jax",
        paper="rubin-2015",
        for_task=f"{models}.ring:for_task",
    )
    registry.model(
        "two-layer",
        f"{models}.two_layer:TwoLayerSSN.default",
        summary="Middle and superficial layers of V1, with a readout",
        framework="jax",
        paper="jozsa-ssn",
    )
    registry.rule(
        "implicit-gradient",
        "bioviz_ssn.rules.implicit_gradient:ImplicitGradient",
        summary="Gradient descent on steady states, kept away from instability",
        framework="jax",
        paper="ahmadian-2013",
    )
    registry.rule(
        "perceptual-learning",
        "bioviz_ssn.rules.perceptual_learning:PerceptualLearning.create",
        summary="Discrimination training of many seeds' networks at once",
        framework="jax",
        paper="jozsa-ssn",
    )
    learning = "bioviz_ssn.experiments.perceptual_learning"
    registry.experiment(
        "perceptual-learning",
        f"{learning}:PerceptualLearning",
        summary="Where V1 changes as it learns to tell orientations apart",
        framework="jax",
        config=f"{learning}:PerceptualLearningConfig",
        paper="jozsa-ssn",
        tags=("certificate",),
    )
    registry.experiment(
        "ablations",
        "bioviz_ssn.experiments.ablations:Ablations",
        summary="Does inhibition rise where the decision is read out?",
        framework="jax",
        config="bioviz_ssn.experiments.ablations:AblationsConfig",
        paper="jozsa-ssn",
    )
    registry.experiment(
        "circuit",
        "bioviz_ssn.experiments.circuit:Circuit",
        summary="Contrast, plaids, size and the paradoxical effect of one circuit",
        framework="jax",
        config="bioviz_ssn.experiments.circuit:CircuitConfig",
        paper="rubin-2015",
        tags=("certificate",),
    )
    analyses = "bioviz_ssn.analyses"
    for name, target, summary in (
        ("tuning-features", "tuning_curves:TuningFeatures", "Shape of each cell's tuning curve"),
        ("decoding", "mvpa:Decoding", "Orientation decoded from smoothed, noisy patterns (MVPA)"),
        ("mahalanobis", "mvpa:Mahalanobis", "Distance of orientations over the spread of trials"),
        ("parameter-change", "parameter_change:ParameterChange", "What training changed, by name"),
        ("anova", "anova:TwoWayAnova", "Analysis of variance of stage by orientation"),
    ):
        registry.analysis(name, f"{analyses}.{target}", summary=summary, paper="jozsa-ssn")
