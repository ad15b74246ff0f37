"""The paper's fully connected network on MNIST: do separate weights reach backprop?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from bioviz_core import Claim, Config, Field, create

if TYPE_CHECKING:
    from bioviz_core.interfaces import Measured
    from bioviz_core.lab.run import Run

ARMS = ("backprop", "separate", "feedback")
MEAN, STD = 0.1307, 0.3081  # of MNIST's training pixels, as the paper's code has them


class MnistConfig(Config):
    """What is trained, and for how long."""

    seeds: int = Field(5, ge=1)
    """Repeats; all arms of a repeat share initial weights and the order of digits."""
    images: int = Field(20_000, ge=20, le=60_000)
    """How many of the training digits are used, the first ones."""
    epochs: int = Field(6, ge=1)
    """Passes through them."""
    batch_size: int = Field(20, ge=1)
    """Digits per update."""
    hidden: tuple[int, ...] = (500,)
    """Hidden units, by layer."""
    learning_rate: float = Field(3e-4, gt=0)
    """AdamW's step size in the first epoch, the same in every arm."""
    rate_per_epoch: float = Field(0.95, gt=0, le=1)
    """Factor on the step size after each epoch."""
    decay: float = Field(0.1, ge=0)
    """AdamW's decay where weights are separate; the streams approach by 1 - rate x decay a step."""
    evaluations: int = Field(6, ge=1)
    """How often accuracy and angles are measured."""


class Mnist:
    """Counter-Hebb with separate weights against backprop on MNIST, arms paired by seed."""

    question: ClassVar[str] = "Do separate top-down weights with decay learn MNIST like backprop?"
    claims: ClassVar[tuple[Claim, ...]] = (
        Claim(
            id="separate-near-backprop-mnist",
            sentence="Separate weights with decay reach backprop on MNIST",
            source="Abel and Ullman 2024, tables",
            metric="separate_minus_backprop",
            rule="equal",
            bound=0.5,
            unit="points",
            seeds=5,
            tags=("needs data",),
        ),
    )
    presets: ClassVar[dict[str, dict[str, object]]] = {
        "smoke": {"seeds": 1, "images": 2000, "epochs": 2, "evaluations": 4, "hidden": (200,)},
        "laptop": {},
        "paper": {"seeds": 10, "images": 60_000, "epochs": 50, "learning_rate": 1e-4,
                  "evaluations": 50},
    }  # fmt: skip

    def run(self, config: MnistConfig, run: Run) -> dict[str, Measured]:
        """Train every arm on every seed; without MNIST on scikit-learn's digits, not judged."""
        from bioviz_core.stimuli.sources import column

        from bioviz_butd.experiments import arms, pictures, results

        source, held_out, is_mnist = self._data(config, run)
        test = {key: column(held_out, key) for key in ("inputs", "labels")}
        shape = source.fields["inputs"].shape
        make = partial(create, "butd/fc", kind="model", shape=shape, hidden=config.hidden)
        per_epoch = len(source) // config.batch_size
        schedule = arms.Schedule(
            config.epochs * per_epoch, config.batch_size, config.learning_rate, config.decay,
            config.evaluations, per_epoch, config.rate_per_epoch,
        )  # fmt: skip
        outcomes = {
            name: [
                arms.train(
                    arms.ARMS[name], make, f"{name}-{seed}", source=source, test=test,
                    schedule=schedule, run=run, seed=run.seed + seed,
                )
                for seed in range(config.seeds)
            ]
            for name in ARMS
        }  # fmt: skip
        label = "MNIST" if is_mnist else "8 x 8 digits"
        pictures.learning(run, "learning", label, outcomes, test_size=len(held_out), key=True)
        results.tables(run, label, outcomes)
        results.tiles(run, "", outcomes)
        found = results.measured(outcomes)
        run.model("separate", outcomes["separate"][0].net)
        return found if is_mnist else {f"digits_{name}": value for name, value in found.items()}

    def _data(self, config: MnistConfig, run: Run) -> tuple[Any, Any, bool]:
        from bioviz_core.stimuli.archives import data_folder, mnist
        from bioviz_core.stimuli.embedded import digits

        if data_folder() is None:
            run.fact("data", "scikit-learn's 8 x 8 digits in place of MNIST: BIOVIZ_DATA is unset")
            return digits("train"), digits("test"), False
        train, test = normalized(mnist("train"), config.images), normalized(mnist("test"))
        run.fact("data", f"MNIST: the first {len(train):,} to train, {len(test):,} to test")
        return train, test, True


def normalized(source: Any, count: int | None = None) -> Any:
    """The first `count` digits with `(pixel - mean) / std`."""
    from bioviz_core.stimuli.sources import ArraySource, Subset

    cut = Subset(source, range(len(source) if count is None else count))
    inputs, labels = cut.column("inputs"), cut.column("labels")
    return ArraySource(inputs=(inputs - MEAN) / STD, labels=labels, classes=10)
