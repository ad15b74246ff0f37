from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bioviz_core.lab.claims import judge
from bioviz_core.lab.run import Run
from bioviz_ssn.ablations import configuration
from bioviz_ssn.experiments import arms, gradient_certificate, learning_figures, learning_results
from bioviz_ssn.experiments.ablations import Ablations
from bioviz_ssn.experiments.arms import Outcome
from bioviz_ssn.experiments.perceptual_learning import PerceptualLearning, PerceptualLearningConfig
from bioviz_ssn.experiments.stability_arms import slowest
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec, orientation_map
from bioviz_ssn.models.cohort import Cohort
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.rejection import Accepted
from bioviz_ssn.stages import Schedule

GRID = GridSpec(points=5, size=3.2)
SEEDS = (3, 4, 5)
SHORT = Schedule(
    pretraining_steps=2, pretraining_batch=8, pretraining_check=2, readout_trials=60,
    readout_steps=3, steps=4, batch=8, check=2, check_trials=10, psychometric_trials=10,
)  # fmt: skip


def accepted() -> Accepted:
    networks, tables, maps = [], [], []
    for seed in SEEDS:
        where = orientation_map(np.random.default_rng(seed), GRID)
        params = TwoLayerSSN.default(seed, grid=GRID, readout_side=5).params
        networks.append(TwoLayerSSN.create(params, where, grid=GRID, readout_side=5))
        tables.append(GaborBank.create(where, (0.35, 0.2), GRID).table(step=5.0))
        maps.append(where)
    rates = np.full(len(SEEDS), 4e-3, np.float32)
    failures = tuple(Counter({"all states converged": 2}) for _ in SEEDS)
    return Accepted(Cohort.stack(networks, tables), np.stack(maps), rates, failures)


@pytest.fixture(scope="module")
def trained(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[Accepted, Outcome, Run]]:
    """One arm, in which the last seed was left out."""
    drawn = accepted()
    with Run(tmp_path_factory.mktemp("run"), seed=0) as run:
        before = arms.pretrain(drawn, SEEDS, SHORT, run, name="true")
        before["readout"].memo["threshold"] = [3.0, 4.0, 40.0]
        outcome = arms.train(
            before, drawn, SEEDS, SHORT, run, name="fine",
            configuration=configuration("baseline"), test_trials=20,
        )  # fmt: skip
        yield drawn, outcome, run


@pytest.mark.slow
def test_every_claim_has_its_metric_and_a_left_out_seed_is_missing_in_each(
    trained: tuple[Accepted, Outcome, Run],
) -> None:
    _, outcome, _ = trained
    decoded = learning_results.decoding(outcome, 30)
    found: dict[str, Any] = {
        **learning_results.measured(outcome),
        **learning_results.against_shuffled(outcome, outcome),
        **learning_results.stability(slowest(outcome.stages["fine"])),
        **learning_results.decoding_gains(decoded),
    }
    assert outcome.left_out == {2: "threshold of 40.0 degrees after pretraining"}
    for claim in PerceptualLearning.claims:
        if "certificate" in claim.tags:
            continue
        for part in claim.parts:
            values = np.asarray(found[part.metric], float)
            assert values.shape == (3,), part.metric
            assert np.isnan(values[2]), part.metric
        assert judge(claim, found, preset="laptop").verdict == "inconclusive"


@pytest.mark.slow
def test_changes_are_those_between_the_cohorts(trained: tuple[Accepted, Outcome, Run]) -> None:
    _, outcome, _ = trained
    change = outcome.change()
    before, after = (
        np.asarray(c.params.superficial.weights) for c in (outcome.before, outcome.after)
    )
    expected = 100 * (np.abs(after[:2, 1, 1]) / np.abs(before[:2, 1, 1]) - 1)
    np.testing.assert_allclose(change["J_II_s"][:2], expected, rtol=1e-3)
    ratio = [
        np.abs(j[:2, 1, 1] + j[:2, 0, 1]) / np.abs(j[:2, 1, 0] + j[:2, 0, 0])
        for j in (before, after)
    ]
    np.testing.assert_allclose(change["ei_s"][:2], 100 * (ratio[1] / ratio[0] - 1), atol=1e-3)


@pytest.mark.slow
def test_figures_and_tables_come_out_with_numbers_of_the_run(
    trained: tuple[Accepted, Outcome, Run],
) -> None:
    drawn, outcome, run = trained
    decoded = learning_results.decoding(outcome, 30)
    tuned: dict[str, dict[str, np.ndarray]] = {"middle": {}, "superficial": {}}
    rates = {"penalty": slowest(outcome.stages["fine"])}
    learning_figures.everything(run, outcome, rates, decoded, tuned)
    learning_figures.ablations(run, {"suponly": outcome, "midonly": outcome})
    learning_results.tables(run, drawn, outcome, decoded, tuned)
    learning_results.excluded(run, "baseline", outcome)
    figures = {file.stem for file in (run.path / "figures").glob("*.png")}
    assert figures == {
        "parameter-change", "learning", "pretraining", "decoding", "slow-modes", "ablations",
    }  # fmt: skip
    excluded = (run.path / "tables" / "excluded-baseline.csv").read_text()
    assert "5,threshold of 40.0 degrees" in excluded


@pytest.mark.slow
def test_the_readout_can_move_to_the_middle_layer(
    trained: tuple[Accepted, Outcome, Run],
) -> None:
    drawn, outcome, _ = trained
    middle = configuration("mixed")
    cohort = arms.configured(outcome.before, middle)
    assert cohort.params.readout.shape == (3, 50)
    local = arms.configured(outcome.before, configuration("suponly_no_hori"))
    weights = np.asarray(local.member(0).superficial.kernel.p_local)
    assert weights.tolist() == [1, 1]
    assert drawn.cohort.network.superficial.kernel.p_local == (0.4, 0.7)


@pytest.mark.slow
def test_the_implicit_gradient_is_that_of_4000_euler_steps_and_300_are_too_few() -> None:
    found = gradient_certificate.certify()
    assert found["gradient_deviation"] <= 1e-6
    assert found["gradient_deviation_300_steps"] > 1e-3


def test_claims_are_those_that_were_fixed_before() -> None:
    asked = {
        claim.id: [(part.rule, part.bound) for part in claim.parts]
        for claim in (*PerceptualLearning.claims, *Ablations.claims)
    }
    assert asked == {
        "ssn-gradient": [("<=", 1e-6), (">", 1e-3)],
        "threshold-falls": [("up", 0.1)],
        "trained-more": [("up", 0.1)],
        "inhibition-superficial": [("up", 2.0)],
        "superficial-over-middle": [("up", 2.0)],
        "sign-jii": [("up", 0.0)] * 2,
        "sign-jee": [("up", 0.0)] * 2,
        "sign-ci": [("up", 0.0)],
        "sign-ce": [("up", 0.0)],
        "sign-f": [("up", 0.0)] * 2,
        "sign-kappa": [("up", 0.0)] * 4,
        "jei-unchanged": [("equal", 5.0)],
        "mvpa-superficial": [("up", 1.0)],
        "mvpa-orientation": [("up", 1.0)],
        "shuffled-pretraining": [("equal", 5.0)],
        "penalty-keeps-stable": [("share", "8/8")],
        "readout-decides": [("up", 4.0)],
        "not-horizontal": [("up", 0.0)],
    }


def test_a_schedule_takes_its_lengths_from_the_configuration() -> None:
    schedule = PerceptualLearningConfig(steps=7, check=3).schedule()
    assert (schedule.steps, schedule.check, schedule.pretraining_steps) == (7, 3, 1000)


def test_a_seed_that_ended_has_no_rates_afterwards(trained: tuple[Accepted, Outcome, Run]) -> None:
    _, outcome, _ = trained
    rates = slowest(outcome.stages["fine"])
    assert rates.shape == (4, 3)
    assert np.isfinite(rates[:, :2]).all()
    assert np.isnan(rates[:, 2]).all()


@pytest.mark.slow
def test_where_no_seed_came_to_fine_training_the_report_says_so(
    trained: tuple[Accepted, Outcome, Run], tmp_path: Path
) -> None:
    _, outcome, _ = trained
    nothing = replace(outcome.stages["fine"], steps=0)
    stages = {**outcome.stages, "fine": nothing}
    with Run(tmp_path, seed=0) as run:
        learning_figures.everything(run, replace(outcome, stages=stages), {}, {}, {})
        assert [path.stem for path in (run.path / "figures").glob("*.svg")] == ["pretraining"]
        assert "No seed came to fine training" in (run.path / "log.txt").read_text()
