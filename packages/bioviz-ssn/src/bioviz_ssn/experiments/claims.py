"""The claims of perceptual learning, as they were fixed before anything was run."""

from __future__ import annotations

from bioviz_core import Claim
from bioviz_core.interfaces import Part

GRADIENT = Claim(
    id="ssn-gradient",
    sentence="Implicit gradient = backpropagation through 4000 Euler steps, every parameter",
    source="reference code",
    metric="gradient_deviation",
    rule="<=",
    bound=1e-6,
    tags=("certificate",),
    also=(Part("gradient_deviation_300_steps", ">", 1e-3),),
)


def _claim(
    id: str, sentence: str, source: str, rule: str, *metrics: str, bound: float | str = 0.0,
    unit: str = "",
) -> Claim:  # fmt: skip
    also = tuple(Part(metric, rule, bound, unit) for metric in metrics[1:])
    return Claim(id, sentence, source, metrics[0], rule, bound, unit, seeds=8, also=also)


README, FIGURE = "README of SSN-VisualCortex", "figure of SSN-VisualCortex"

PERCEPTUAL_LEARNING: tuple[Claim, ...] = (
    GRADIENT,
    _claim(
        "threshold-falls", "Training lowers the threshold at the trained orientation", README,
        "up", "threshold_fall", bound=0.1, unit="log deg",
    ),
    _claim(
        "trained-more", "More at the trained orientation than at the untrained one", "Jia 2024",
        "up", "threshold_fall_55_minus_125", bound=0.1, unit="log deg",
    ),
    _claim(
        "inhibition-superficial", "Inhibition rises in the superficial layer", README,
        "up", "ei_s", bound=2.0, unit="%",
    ),
    _claim(
        "superficial-over-middle", "It rises more than in the middle layer", README,
        "up", "ei_s_minus_m", bound=2.0, unit="%",
    ),
    _claim("sign-jii", "J_II rises", FIGURE, "up", "J_II_s", "J_II_m", unit="%"),
    _claim("sign-jee", "J_EE falls", FIGURE, "up", "fall_J_EE_s", "fall_J_EE_m", unit="%"),
    _claim("sign-ci", "c_I rises, shared by both layers", FIGURE, "up", "c_I", unit="%"),
    _claim("sign-ce", "c_E falls, shared by both layers", FIGURE, "up", "fall_c_E", unit="%"),
    _claim("sign-f", "f_E and f_I rise", FIGURE, "up", "f_E", "f_I", unit="%"),
    _claim(
        "sign-kappa", "Kappas rise", FIGURE, "up", "kappa_s_pre", "kappa_s_post", "kappa_m",
        "kappa_f",
    ),
    _claim(
        "jei-unchanged", "J_EI of the superficial layer stays", FIGURE, "equal", "J_EI_s",
        bound=5.0, unit="%",
    ),
    _claim(
        "mvpa-superficial", "The superficial layer codes the trained orientation better",
        "Jia 2020", "up", "decoding_gain_s_minus_m", bound=1.0, unit="points",
    ),
    _claim(
        "mvpa-orientation", "At the trained orientation only", "Jia 2020", "up",
        "decoding_gain_55_minus_125", bound=1.0, unit="points",
    ),
    _claim(
        "shuffled-pretraining", "Pretraining on true and on shuffled labels agree",
        "reference code", "equal", "true_minus_shuffled", bound=5.0, unit="%",
    ),
    _claim(
        "penalty-keeps-stable", "The stability penalty prevents drift", "ours", "share",
        "stays_stable", bound="8/8",
    ),
)  # fmt: skip

ABLATIONS: tuple[Claim, ...] = (
    _claim(
        "readout-decides", "The place of the readout causes it", "ablation", "up",
        "suponly_minus_midonly", bound=4.0, unit="%",
    ),
    _claim(
        "not-horizontal", "Without horizontal links too", "ablation", "up",
        "suponly_no_hori_s_minus_m", unit="%",
    ),
)  # fmt: skip
