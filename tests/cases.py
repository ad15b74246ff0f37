"""What is checked of everything that the packages here register, and on what it is tried."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import Any

import bioviz_core as bv
import jax
import numpy as np
import optax
import torch
from bioviz_core.lab.run import Run
from bioviz_core.stimuli.embedded import digits, photographs
from bioviz_core.stimuli.sources import ArraySource
from bioviz_core.testing import Case, Task, reference_task
from bioviz_ssn.ablations import ALL, trained_mask
from bioviz_ssn.analyses.mvpa import patterns, principal_components
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec
from bioviz_ssn.models.cohort import Cohort
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.rules.perceptual_learning import PerceptualLearning
from bioviz_ssn.tasks import FineTask, ImageTrials, Trials
from sklearn.covariance import EmpiricalCovariance

SGD, ADAM = partial(torch.optim.SGD, lr=0.1), partial(torch.optim.AdamW, lr=1e-3)
SHORT = {"steps": 3}


def make(name: str, **options: Any) -> Any:
    return partial(bv.create, name, **options)


FC = make("butd/fc", shape=(1, 8, 8), hidden=(16,))
CONV = make("butd/conv", shape=(1, 8, 8), channels=(4,), hidden=8)
SEPARATE = make("butd/fc", shape=(1, 8, 8), hidden=(16,), td_weights="separate")
MEMORY = make("hopfield/memory", num_classes=10, key_dim=64)
FIELD = make("nrf/field", seed=3)
VIT = make("fastweights/vit-autoencoder", rank=4)
PICTURES = ArraySource(inputs=photographs(64).batch(range(4))["inputs"])
GRAY = photographs(28, color=False).batch(range(4))
LARGE = ArraySource(inputs=GRAY["inputs"], labels=GRAY["labels"])

RNG = np.random.default_rng(0)
PAIRS = RNG.uniform(1, 5, (32, 2)).astype("float32")
DRIVES = ArraySource(inputs=PAIRS, targets=2 * PAIRS)
RING_DRIVES = ArraySource(inputs=np.tile(PAIRS, 3), targets=np.tile(PAIRS, 3))
WEIGHTS = np.array([[0.2, -0.5, 0.1], [0.4, -0.3, 0.0], [0.1, -0.1, 0.2]], "float32")
THREE = ArraySource(inputs=RNG.uniform(1, 5, (32, 3)).astype("float32"),
                    targets=np.ones((32, 3), "float32"))  # fmt: skip
NETWORK = make("ssn/network", weights=WEIGHTS)
POPULATIONS = make("ssn/two-population")
V1 = make("ssn/two-layer", grid=GridSpec(points=3, size=1.6))
PCD = "nrf/persistent-contrastive-divergence"
GRID, SEEDS = GridSpec(points=3, size=1.6), (3, 4)
WHERE = np.linspace(10.0, 170.0, 9)


def cohort() -> Cohort:
    """The two-layer networks of two seeds, on nine points."""
    drawn = [TwoLayerSSN.default(seed, grid=GRID, readout_side=3) for seed in SEEDS]
    networks = [TwoLayerSSN.create(net.params, WHERE, grid=GRID, readout_side=3) for net in drawn]
    return Cohort.stack(networks, [GaborBank.create(WHERE, (0.35, 0.2), GRID).table(step=5.0)] * 2)


def learn_to_discriminate() -> PerceptualLearning:
    trained = trained_mask(ALL, cohort().params, readout=True)
    rule: PerceptualLearning = bv.create("ssn/perceptual-learning", kind="rule", trained=trained)
    return rule


DISCRIMINATE = learn_to_discriminate()


@jax.jit
def discrimination(model: Any, batch: Any) -> Any:
    """The loss of these trials."""
    state = DISCRIMINATE.init(model, batch, seed=0)
    return DISCRIMINATE.step(model, batch, state, seed=0).metrics["loss"]


def misses(model: Any, batch: Any) -> float:
    """The share of digits that a memory puts into another class."""
    return float((model(batch["inputs"]).argmax(1) != batch["labels"]).double().mean())


def excess_energy(model: Any, batch: Any) -> Any:
    """Energy of the data less that of noise: what contrastive learning lowers."""
    noise = torch.rand(batch["inputs"].shape, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        energies = [model.energy(model.states(x)).mean() for x in (batch["inputs"], noise)]
    return energies[0] - energies[1]


def few_steps(model: Any, source: Any, steps: int = 5) -> Task:
    return Task(model, source, steps=steps, batch_size=4)


RULES = [
    Case("butd/counter-hebb", make("butd/counter-hebb", optimizer=SGD), Task(FC)),
    Case("separate", make("butd/counter-hebb", optimizer=ADAM), Task(SEPARATE)),
    Case("butd/feedback-alignment", make("butd/feedback-alignment", optimizer=SGD), Task(SEPARATE)),
    Case("butd/backprop", make("butd/backprop", optimizer=SGD), Task(FC)),
    Case("core/backprop-torch", make("core/backprop-torch", optimizer=SGD)),
    Case("core/backprop-jax", make("core/backprop-jax", optimizer=optax.adam(1e-2)),
         reference_task("jax")),
    Case("core/local", make("core/local", rule="oja/oja", rate=1e-4),
         Task(NETWORK, THREE, steps=5, batch_size=8)),
    Case("hopfield/prototype", task=Task(MEMORY, measure=misses)),
    Case(PCD, make(PCD, positive=SHORT, negative=SHORT, buffer_size=64),
         Task(FIELD, digits(), steps=20, batch_size=16, measure=excess_energy)),
    Case("fastweights/gradient-write", make("fastweights/gradient-write", lr=1e-3),
         few_steps(VIT, PICTURES)),
    Case("predictive-coding/predictive-coding",
         make("predictive-coding/predictive-coding", optimizer=ADAM)),
    Case("ssn/implicit-gradient", task=Task(POPULATIONS, DRIVES, steps=20, batch_size=8)),
    Case("ssn/perceptual-learning", learn_to_discriminate,
         Task(cohort, Trials(FineTask(), seeds=SEEDS, noise=cohort().n_noise, count=64),
              steps=6, batch_size=16, measure=discrimination)),
]  # fmt: skip
LOCAL_RULES = ["oja/oja"]
MODELS = [
    Case("butd/fc", FC, Task(FC)),
    Case("butd/fc-separate", SEPARATE, Task(SEPARATE)),
    Case("butd/conv", CONV, Task(CONV)),
    Case("butd/simple", make("butd/simple", channels=4), Task(make("butd/simple"), LARGE)),
    Case("hopfield/memory", MEMORY, Task(MEMORY)),
    Case("nrf/field", FIELD, Task(FIELD)),
    Case("fastweights/vit-autoencoder", VIT, Task(VIT, PICTURES)),
    Case("ssn/network", NETWORK, Task(NETWORK, THREE)),
    Case("ssn/two-population", POPULATIONS, Task(POPULATIONS, DRIVES)),
    Case("ssn/ring", make("ssn/ring", points=3), Task(make("ssn/ring", points=3), RING_DRIVES)),
    Case("ssn/two-layer", V1, Task(V1, ImageTrials(FineTask(), seed=0, count=8))),
]
STIMULI: list[str | Case] = []
"""Core's own are tried in its tests, with data where they read some; no plugin has others yet."""

# Four patterns of three cells; what is known of them is said beside it.
X = np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0]])
TWICE = {"activations": X, "reference": 2 * X}
ANGLES = np.arange(0.0, 180.0, 22.5).repeat(2)
CLASSES = np.arange(20) % 2


COSINE = (3 + np.cos(2 * np.deg2rad(np.arange(0.0, 360, 5) - 10)))[:, None]
# Trials of two orientations that no noise confuses.
TOLD_APART = np.repeat([0, 55], 30)
STEEP = np.tile(np.linspace(-1, 1, 9), 9) * (TOLD_APART == 55)[:, None, None]
RATES = 10 + RNG.standard_normal((60, 2, 81)) + 500 * STEEP
SCORES = principal_components(patterns(RATES, np.random.default_rng(0)))
# scikit-learn's covariance divides by the number of trials, not by one less.
SQUARED = EmpiricalCovariance().fit(SCORES[:30]).mahalanobis(SCORES[30:]) * 29 / 30
DISTANCE = float(np.sqrt(SQUARED).mean())


def longer(data: Any) -> Any:
    return {**data, "activations": 3 * data["activations"]}


def reordered(data: Any) -> Any:
    return {**data, "curves": data["curves"][:, ::-1]}


def shifted(data: Any) -> Any:
    return {**data, "activations": data["activations"] + 3}


ANALYSES = [
    # One-hot patterns correlate by -1/2, and (1, 1, 0) with its parts by 1/2, with the third by -1.
    Case("core/rdm", data={"activations": X}, invariances={"scale": longer, "shift": shifted},
         answers={"mean": (3 * 1.5 + 2 * 0.5 + 2.0) / 6}),
    Case("core/rsa", data=TWICE, answers={"rsa": 1.0}, invariances={"scale": longer}),
    Case("core/cka", data=TWICE, answers={"cka": 1.0},
         invariances={"scale": longer, "shift": shifted}),
    Case("core/procrustes", data=TWICE, answers={"angle": 0.0}, invariances={"scale": longer}),
    # The identity without its mean has three directions of one variance.
    Case("core/population", data={"activations": np.eye(4)}, invariances={},
         answers={"participation_ratio": 3.0, "active_share": 0.25, "mean_response": 0.25}),
    # A cosine of the doubled angle has the vector strength 1/2 on a mean of 1, and no direction.
    Case("core/orientation-tuning", invariances={"scale": longer}, answers={"osi": 0.5},
         data={"activations": 1 + np.cos(2 * np.deg2rad(ANGLES))[:, None], "orientation": ANGLES}),
    # One cell prefers a class by 3 to 1, the other not at all.
    Case("core/class-selectivity", invariances={"scale": longer}, answers={"selectivity": 0.25},
         data={"activations": np.stack([1 + 2.0 * CLASSES, 0 * CLASSES + 1.0], 1),
               "labels": CLASSES}),
    Case("core/linear-readout", answers={"accuracy": 1.0, "chance": 0.5},
         data={"activations": np.stack([CLASSES, 1.0 - CLASSES], 1), "labels": CLASSES}),
    # All of the signal on one of four pixels, the bright one.
    Case("butd/saliency", answers={"concentration": 0.25, "on_figure": 1.0},
         data={"inputs": np.eye(4)[:1].reshape(1, 1, 2, 2),
               "signals": np.eye(4)[:1].reshape(1, 1, 2, 2)}),
    Case("butd/weight-alignment", answers={"angle": 45.0, "norm_ratio": np.sqrt(2)},
         data={"weight": np.array([[1.0, 0.0]]), "td_weight": np.array([[1.0, 1.0]])}),
    Case("ssn/tuning-features", invariances={"order of cells": reordered},
         answers={"max": 8, "min": 4, "osi": 1 / 6, "modulation": 0.5, "dsi": 0, "pref_ori": 10},
         data={"orientations": np.arange(0.0, 360, 5),
               "curves": np.hstack([COSINE, 2 * COSINE, 3 * COSINE])}),
    Case("ssn/decoding", data={"rates": RATES, "labels": TOLD_APART}, answers={"accuracy": 1.0}),
    Case("ssn/mahalanobis", answers={"distance_55": DISTANCE},
         data={"rates": RATES, "labels": TOLD_APART, "control": np.array(0)}),
    Case("ssn/parameter-change", answers={"J_EE_m": 25, "kappa_f_E": 0.2},
         data={"names": np.array(["J_EE_m", "kappa_f_E"]),
               "before": np.array([[4.0, 0.0]]), "after": np.array([[5.0, 0.2]])}),
    # Two observations in each cell, 1 from its mean: 8 within, 4 degrees of freedom; stage 0 or 2.
    Case("ssn/anova", answers={"f_stage": 4, "f_orientation": 0, "partial_eta2_stage": 0.5},
         data={"values": np.array([-1.0, 1, -1, 1, 1, 3, 1, 3]),
               "stage": np.repeat(["pre", "post"], 4),
               "orientation": np.tile([55, 55, 125, 125], 2)}),
]  # fmt: skip


def train(name: str, path: Path, *, kill_at: int = 0) -> None:
    """Five steps of a rule with a checkpoint every two; SIGKILL behind step `kill_at`."""
    (case,) = (case for case in RULES if case.name == name)

    def after(progress: Any) -> None:
        if progress.step == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    with Run(path, seed=0) as run:
        bv.fit(case.model, case.thing, case.trial.source, steps=5, checkpoint_every=2,
               batch_size=case.trial.batch_size, run=run, after=after)  # fmt: skip
