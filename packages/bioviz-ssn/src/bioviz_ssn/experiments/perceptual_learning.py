"""Perceptual learning of orientation: what changes in a two-layer model of V1, and where."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar, Literal

from bioviz_core import Claim, Field

from bioviz_ssn.experiments.claims import PERCEPTUAL_LEARNING
from bioviz_ssn.experiments.compilation import CompiledConfig

if TYPE_CHECKING:
    from bioviz_core.interfaces import Measured
    from bioviz_core.lab.run import Run

    from bioviz_ssn.stages import Schedule


class TrainingConfig(CompiledConfig):
    """How the networks are drawn, how long each stage is, and how often it is tested."""

    seeds: int = Field(8, ge=1)
    """Networks, each with its own map, initial parameters and trials; all are trained at once."""
    initial: Literal["drawn", "example"] = "drawn"
    """Initial weights: drawn until they are accepted, or those of the published example."""
    table_step: float = Field(0.25, gt=0, le=2)
    """Degrees between the orientations whose drives are computed from pixels."""
    pretraining_steps: int = Field(1000, ge=1)
    """Most steps of general pretraining; a seed ends earlier once its threshold is in (5, 25)."""
    pretraining_batch: int = Field(100, ge=1)
    """Trials per step of pretraining."""
    pretraining_check: int = Field(2, ge=1)
    """Steps of pretraining between two psychometric functions."""
    readout_trials: int = Field(1000, ge=20)
    """Trials that a readout is fitted to, three in ten of them held out."""
    readout_steps: int = Field(60, ge=1)
    """Most steps in which the fine readout alone learns."""
    steps: int = Field(1500, ge=1)
    """Most steps of fine training."""
    batch: int = Field(50, ge=1)
    """Trials per step of fine training."""
    check: int = Field(10, ge=1)
    """Steps of fine training between two tests."""
    check_trials: int = Field(300, ge=10)
    """Trials at the staircase's offset in each test, at either orientation."""
    psychometric_trials: int = Field(100, ge=10)
    """Trials at each of five offsets of a psychometric function."""
    test_trials: int = Field(400, ge=10)
    """Trials at each offset before and after fine training."""
    earliest_plateau: int = Field(1000, ge=1)
    """Steps after which a seed may end because its accuracy rises no more."""
    lambda_w: float = Field(1.0, ge=0)
    """How much the square of the readout weights counts in the first two stages."""

    def schedule(self) -> Schedule:
        """These lengths as the stages take them."""
        from dataclasses import fields

        from bioviz_ssn.stages import Schedule

        own = type(self).model_fields
        return Schedule(
            **{f.name: getattr(self, f.name) for f in fields(Schedule) if f.name in own}
        )


class PerceptualLearningConfig(TrainingConfig):
    """What is trained, and which controls beside it."""

    configuration: str = "baseline"
    """Training configuration of `bioviz_ssn.ablations`, such as baseline, gentask, only_JI."""
    shuffled: bool = True
    """Train every seed also after pretraining on shuffled labels, as the published code does."""
    penalty_seeds: int = Field(5, ge=0)
    """Seeds that are also trained without the stability penalty, and with the published term."""
    penalty_steps: int = Field(300, ge=1)
    """Fine steps of these controls."""
    dx_steps: int = Field(40, ge=0)
    """Fine steps with the published term, which backpropagates through 300 Euler steps."""
    dx_batch: int = Field(10, ge=1)
    """Trials per step with the published term."""
    decoding_trials: int = Field(200, ge=20)
    """Trials of each orientation for decoding and Mahalanobis distances."""
    tuning_seeds: int = Field(8, ge=0)
    """Seeds whose tuning curves are measured before and after."""


SMOKE: dict[str, object] = {
    "seeds": 1, "initial": "example", "table_step": 2.0, "pretraining_steps": 2,
    "pretraining_batch": 25, "pretraining_check": 2, "readout_trials": 100, "readout_steps": 3,
    "steps": 4, "batch": 25, "check": 4, "check_trials": 25, "psychometric_trials": 10,
    "test_trials": 20, "compile_fast": True,
}  # fmt: skip
LAPTOP: dict[str, object] = {
    "table_step": 1.0, "pretraining_steps": 100, "pretraining_batch": 50, "pretraining_check": 20,
    "readout_trials": 500, "readout_steps": 60, "steps": 400, "check": 50, "check_trials": 100,
    "psychometric_trials": 50, "test_trials": 200,
}  # fmt: skip


class PerceptualLearning:
    """All stages on many seeds, judged against the published figure."""

    question: ClassVar[str] = (
        "Does training to tell orientations apart raise inhibition in V1's superficial layer?"
    )
    claims: ClassVar[tuple[Claim, ...]] = PERCEPTUAL_LEARNING
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {
            **SMOKE, "shuffled": False, "penalty_seeds": 0, "decoding_trials": 25,
            "tuning_seeds": 0,
        },
        "laptop": {
            **LAPTOP, "penalty_steps": 400, "dx_steps": 100, "decoding_trials": 100,
            "tuning_seeds": 2,
        },
        "paper": {"seeds": 50, "penalty_seeds": 5, "penalty_steps": 1500, "dx_steps": 100},
    }  # fmt: skip

    def run(self, config: PerceptualLearningConfig, run: Run) -> dict[str, Measured]:
        """Train every seed, test it before and after, and compare with controls."""
        from bioviz_ssn.ablations import configuration
        from bioviz_ssn.experiments import gradient_certificate, learning_figures, learning_results

        chosen = configuration(config.configuration)
        with config.compilation():
            found: dict[str, Any] = dict(gradient_certificate.certify())
            study = Study(config, run)
            name = "shuffled" if chosen.shuffle_labels else "true"
            before = study.pretrain(name, shuffled=chosen.shuffle_labels)
            outcome = study.train(name, before, chosen, label=config.configuration)
            found |= learning_results.measured(outcome)
            if config.shuffled and not chosen.shuffle_labels:
                other = study.train(
                    "shuffled", study.pretrain("shuffled", shuffled=True), chosen, label="shuffled"
                )
                found |= learning_results.against_shuffled(outcome, other)
                learning_results.excluded(run, "shuffled", other)
            penalties = study.penalties(before, chosen, outcome)
            found |= learning_results.stability(penalties["penalty"])
            decoding = learning_results.decoding(outcome, config.decoding_trials)
            found |= learning_results.decoding_gains(decoding)
            tuning = learning_results.tuning(
                outcome, study.accepted.orientations, config.tuning_seeds
            )
        learning_results.tables(run, study.accepted, outcome, decoding, tuning)
        learning_results.excluded(run, config.configuration, outcome)
        learning_figures.everything(run, outcome, penalties, decoding, tuning)
        learning_results.tiles(run, outcome)
        run.array("orientation-maps", study.accepted.orientations)
        return found


class Study:
    """The networks of an experiment, and the arms that they are trained in."""

    def __init__(self, config: TrainingConfig, run: Run) -> None:
        from bioviz_ssn.rejection import accepted_cohort, example_cohort

        self.config, self.run = config, run
        self.seeds = tuple(run.seed + k for k in range(config.seeds))
        if config.initial == "drawn":
            self.accepted = accepted_cohort(self.seeds, table_step=config.table_step)
        else:
            self.accepted = example_cohort(self.seeds, table_step=config.table_step)
        run.fact("data", "gratings with pixel noise, as the drives that they give exactly")

    def pretrain(self, name: str, *, shuffled: bool = False) -> Any:
        """Stages 0 and 1."""
        from bioviz_ssn.experiments import arms

        return arms.pretrain(
            self.accepted, self.seeds, self.config.schedule(), self.run, name=name,
            shuffled=shuffled, lambda_w=self.config.lambda_w,
        )  # fmt: skip

    def train(self, name: str, before: Any, chosen: Any, *, label: str) -> Any:
        """Stage 2, with tests before and after."""
        from bioviz_ssn.experiments import arms

        return arms.train(
            before, self.accepted, self.seeds, self.config.schedule(), self.run,
            name=label if label != name else f"{name}-labels", configuration=chosen,
            test_trials=self.config.test_trials,
        )  # fmt: skip

    def penalties(self, before: Any, chosen: Any, outcome: Any) -> dict[str, Any]:
        """Rates of the slowest mode, `(steps, seeds)`, under each treatment of slow modes."""
        from bioviz_ssn.experiments import stability_arms

        return stability_arms.compare(
            before, chosen, outcome, self.accepted, self.seeds, self.config, self.run
        )
