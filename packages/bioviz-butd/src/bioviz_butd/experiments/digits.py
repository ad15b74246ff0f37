"""An MLP and a small ConvNet learn real digits by backprop, Counter-Hebb and fixed feedback."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from bioviz_core import Claim, Config, Field, create

from bioviz_butd.experiments.certificate import CLAIM

if TYPE_CHECKING:
    from bioviz_core.interfaces import Measured
    from bioviz_core.lab.run import Run

    from bioviz_butd.experiments.arms import Outcome

NETWORKS = {"mlp": "MLP", "conv": "ConvNet"}


class DigitsConfig(Config):
    """What is trained, and for how long."""

    seeds: int = Field(5, ge=1)
    """Repeats; all arms of a repeat share initial weights and the order of digits."""
    steps: int = Field(1000, ge=1)
    """Updates of each network."""
    batch_size: int = Field(32, ge=1)
    """Digits per update."""
    hidden: tuple[int, ...] = (128, 128)
    """Hidden units of the MLP, by layer."""
    channels: tuple[int, ...] = (16, 32)
    """Channels of the ConvNet, by stage."""
    learning_rate: float = Field(3e-3, gt=0)
    """AdamW's step size, the same in every arm."""
    decay: float = Field(0.3, ge=0)
    """AdamW's decay where weights are separate; the streams approach by 1 - rate x decay a step."""
    evaluations: int = Field(10, ge=1)
    """How often accuracy and angles are measured."""


class Digits:
    """Counter-Hebb against backprop on scikit-learn's digits, arms paired by seed."""

    question: ClassVar[str] = "Can a network learn from its own top-down stream as by backprop?"
    claims: ClassVar[tuple[Claim, ...]] = (CLAIM,)
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {"seeds": 1, "steps": 100, "evaluations": 4, "channels": (8, 16)},
        "laptop": {},
        "paper": {"seeds": 10, "steps": 5000, "evaluations": 20},
    }

    def run(self, config: DigitsConfig, run: Run) -> dict[str, Measured]:
        """Train every network by every rule, and certify the rule."""
        from bioviz_core.stimuli.embedded import digits
        from bioviz_core.stimuli.sources import column

        from bioviz_butd.experiments import pictures, results

        run.fact("data", "scikit-learn's digits, 8 x 8: 1,437 to train, 360 to test")
        source, held_out = digits("train"), digits("test")
        test = {key: column(held_out, key) for key in ("inputs", "labels")}
        found: dict[str, Measured] = certify(run)
        for network, label in NETWORKS.items():
            outcomes = self._train(network, source, test, config, run)
            pictures.learning(
                run, f"learning-{network}", label, outcomes, test_size=len(held_out),
                key=network == "conv",
            )  # fmt: skip
            found |= results.measured(outcomes, prefix=f"{network}_")
            results.tables(run, label, outcomes, suffix=f"-{network}")
            results.tiles(run, f"{label}, ", outcomes)
        nets = {arm: of[0].net for arm, of in outcomes.items() if arm != "backprop"}
        alike = pictures.saliency(run, "saliency", label, nets, test, count=8)
        run.model("conv-separate", nets["separate"])
        return found | {f"saliency_{arm}": value for arm, value in alike.items()}

    def _train(
        self, network: str, source: Any, test: Any, config: DigitsConfig, run: Run
    ) -> dict[str, list[Outcome]]:
        from bioviz_butd.experiments.arms import ARMS, Schedule, train

        shape = source.fields["inputs"].shape
        if network == "mlp":
            make = partial(create, "butd/fc", kind="model", shape=shape, hidden=config.hidden)
        else:
            make = partial(create, "butd/conv", kind="model", shape=shape, channels=config.channels)
        schedule = Schedule(
            config.steps, config.batch_size, config.learning_rate, config.decay, config.evaluations
        )
        return {
            name: [
                train(
                    arm, make, f"{network}-{name}-{seed}", source=source, test=test,
                    schedule=schedule, run=run, seed=run.seed + seed,
                )
                for seed in range(config.seeds)
            ]
            for name, arm in ARMS.items()
        }  # fmt: skip


def certify(run: Run) -> dict[str, Measured]:
    """Compare updates with gradients, and table what was compared."""
    from bioviz_butd.experiments import certificate

    rows = list(run.track(certificate.compare(), "certificate", 2 * len(certificate.networks())))
    columns = ("network", "mode", "tensors", "equal_bits", "deviation")
    run.table(
        "certificate", {name: [getattr(row, name) for row in rows] for name in columns},
        "Counter-Hebb's update against autograd: tensors equal to the bit in float32, and the "
        "largest relative deviation in float64.",
    )  # fmt: skip
    return {
        "update_deviation": max(row.deviation for row in rows),
        "differing_float32_tensors": sum(row.tensors - row.equal_bits for row in rows),
        "frozen_statistics_deviation": certificate.frozen_statistics_deviation(),
    }
