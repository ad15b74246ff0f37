"""Does the place of the readout decide where inhibition changes?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from bioviz_core import Claim

from bioviz_ssn.experiments.claims import ABLATIONS
from bioviz_ssn.experiments.perceptual_learning import LAPTOP, SMOKE, Study, TrainingConfig

if TYPE_CHECKING:
    from bioviz_core.interfaces import Measured
    from bioviz_core.lab.run import Run

READOUTS = ("suponly", "mixed", "midonly", "suponly_no_hori")


class AblationsConfig(TrainingConfig):
    """Which configurations are trained, from one pretraining per seed."""

    configurations: tuple[str, ...] = ("suponly", "midonly", "suponly_no_hori")
    """Training configurations of `bioviz_ssn.ablations`; their seeds share the first stages."""


class Ablations:
    """Fine training under several configurations, seeds paired."""

    question: ClassVar[str] = "Does inhibition rise where the decision is read out?"
    claims: ClassVar[tuple[Claim, ...]] = ABLATIONS
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {**SMOKE, "configurations": ("suponly",)},
        "laptop": LAPTOP,
        "paper": {"seeds": 50, "configurations": READOUTS},
    }

    def run(self, config: AblationsConfig, run: Run) -> dict[str, Measured]:
        """Train every configuration on every seed."""
        import numpy as np

        from bioviz_ssn.ablations import configuration
        from bioviz_ssn.experiments import learning_figures, learning_results

        chosen = {name: configuration(name) for name in config.configurations}
        with config.compilation():
            study = Study(config, run)
            before = study.pretrain("true")
            outcomes = {
                name: study.train("true", before, each, label=name) for name, each in chosen.items()
            }
        found: dict[str, Any] = {}
        gaps = {}
        for name, outcome in outcomes.items():
            change = outcome.change()
            gaps[name] = change["ei_s"] - change["ei_m"]
            found |= {f"{name}_s_minus_m": gaps[name].tolist()}
            found |= {f"{name}_ei_{m}": change[f"ei_{m}"].tolist() for m in "ms"}
            found |= {f"{name}_threshold_fall": outcome.log_fall(outcome.threshold).tolist()}
            learning_results.excluded(run, name, outcome)
            known = gaps[name][np.isfinite(gaps[name])]
            if len(known):
                run.number(f"I/E, S minus M, {name}", float(np.median(known)), "%")
        if {"suponly", "midonly"} <= gaps.keys():
            found["suponly_minus_midonly"] = (gaps["suponly"] - gaps["midonly"]).tolist()
        learning_figures.ablations(run, outcomes)
        return found
