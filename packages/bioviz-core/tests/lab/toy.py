"""A small NumPy experiment of two phases, as a plugin: for tests, and for processes that they kill.

Run as a program it runs or resumes itself: `toy.py FOLDER [option=value ...]`, `toy.py RUN`.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from bioviz_core import Claim, Config, Registrar, Result, fit, hookimpl
from bioviz_core.interfaces import Batch, Step
from bioviz_core.interfaces import Field as Key
from bioviz_core.lab import execute
from bioviz_core.lab.fit import Progress
from bioviz_core.lab.run import Run
from bioviz_core.registry import isolated_registry


class ToyConfig(Config):
    steps: int = 20
    """Steps of each phase."""
    rate: float = 0.05
    """Learning rate."""
    pause: float = 0.0
    """Seconds that each step takes longer."""
    trouble: str = ""
    """What goes wrong, and at which step: "raise:3"."""


class Weights:
    framework = "numpy"

    def __init__(self, size: int = 3) -> None:
        self.weights = np.zeros(size)

    def __call__(self, inputs: Any) -> Any:
        return inputs @ self.weights

    def activations(self, inputs: Any) -> dict[str, Any]:
        return {"out": self(inputs)[:, None]}

    def state_tree(self) -> Any:
        return {"weights": self.weights.copy()}

    def with_state(self, state: Any) -> Weights:
        self.weights = state["weights"]
        return self


class Delta:
    framework = None
    needs: ClassVar[tuple[type, ...]] = ()
    reads = ("inputs", "targets")
    sharded = False

    def __init__(self, rate: float) -> None:
        self.rate = rate

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Any:
        return {"speed": np.zeros(batch["inputs"].shape[1])}

    def step(self, model: Any, batch: Batch, state: Any, /, *, seed: int) -> Step[Any, Any]:
        error = batch["targets"] - model(batch["inputs"])
        noise = np.random.default_rng(seed).normal(scale=0.01, size=len(model.weights))
        speed = 0.9 * state["speed"] + error @ batch["inputs"] / len(error)
        model.weights = model.weights + self.rate * speed + self.rate * noise
        return Step(model, {"speed": speed}, {"loss": np.mean(error**2)})


class Lines:
    fields: ClassVar[Mapping[str, Key]] = {
        "inputs": Key((3,), "float64"), "targets": Key((), "float64")
    }  # fmt: skip

    def __len__(self) -> int:
        return 40

    def batch(self, indices: Sequence[int], /, *, epoch: int = 0) -> Batch:
        inputs = np.array([np.random.default_rng(i).normal(size=3) for i in indices])
        return {"inputs": inputs, "targets": inputs @ [1.0, -2.0, 0.5]}


class Toy:
    question = "Does a delta rule find a line?"
    claims = (
        Claim("toy-1", "The error falls below 10", "a test", "error", "<", 10.0, seeds=1),
        Claim("toy-2", "Weights are finite", "a test", "finite", "exact", tags=("certificate",)),
    )
    presets: ClassVar[Mapping[str, Mapping[str, object]]] = {"smoke": {}, "laptop": {"steps": 40}}

    def run(self, config: ToyConfig, run: Run, /) -> Mapping[str, Any]:
        kind, _, at = config.trouble.partition(":")

        def after(progress: Progress[Any]) -> None:
            time.sleep(config.pause)
            progress.memo["seen"] = progress.memo.get("seen", 0) + 1
            if progress.step % 5 == 0:
                run.log(progress.step, phase="test", size=np.abs(progress.model.weights).sum())
            if kind and progress.step == int(at):
                trouble(kind, progress)

        run.fact("data", "made up")
        model = Weights()
        common: Any = {"batch_size": 8, "run": run, "checkpoint_every": 7, "after": after}
        fit(model, Delta(config.rate), Lines(), steps=config.steps, phase="first", **common)
        run.array("weights", model.weights)
        fitted = fit(model, Delta(config.rate / 2), Lines(), steps=config.steps, phase="second",
                     **common)  # fmt: skip
        losses = [row["loss"] for row in fitted.history]
        if kind != "plain":
            picture = Result({}, draw=lambda ax: ax.plot(losses) and None)
            run.figure("loss", picture, f"The loss ends at {losses[-1]:.3g}.", key=True)
        run.table("weights", {"weight": fitted.model.weights}, "The weights")
        run.number("Last loss", losses[-1])
        return {"error": losses[-1], "finite": 1.0 - np.isfinite(fitted.model.weights).all()}


def trouble(kind: str, progress: Progress[Any]) -> None:
    if kind == "raise":
        raise ZeroDivisionError("the toy broke")
    if kind == "nan":
        progress.model.weights = progress.model.weights * np.nan
    if kind in ("TERM", "INT", "KILL"):
        os.kill(os.getpid(), getattr(signal, f"SIG{kind}"))


class Plugin:
    """Registers the toy, and observes its runs."""

    def __init__(self, broken: bool = False) -> None:
        self.broken = broken
        self.seen: list[Any] = []

    @hookimpl
    def bioviz_register(self, registry: Registrar) -> None:
        registry.experiment("toy", "toy:Toy", summary="A delta rule", config="toy:ToyConfig")
        registry.model("weights", "toy:Weights", summary="Weights")

    @hookimpl
    def bioviz_run_started(self, run: Run) -> None:
        self.seen.append("started")

    @hookimpl
    def bioviz_run_logged(self, run: Run, step: int) -> None:
        self.seen.append(step)
        if self.broken:
            raise RuntimeError("an observer broke")

    @hookimpl
    def bioviz_run_finished(self, run: Run, summary: Mapping[str, Any]) -> None:
        self.seen.append(summary["scalars"]["error"])


def main(path: Path, *words: str) -> None:
    with isolated_registry() as registry:
        registry.register(Plugin(), name="toy")
        if (path / "run.json").exists():
            execute.resume(path)
        else:
            execute.run("toy/toy", folder=path, sets=words)


if __name__ == "__main__":
    sys.modules["toy"] = sys.modules["__main__"]
    main(Path(sys.argv[1]), *sys.argv[2:])
