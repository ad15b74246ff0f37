from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from bioviz_core.errors import DivergedError, StoppedError
from bioviz_core.lab.run import Run
from bioviz_ssn import stages
from bioviz_ssn.ablations import configuration
from bioviz_ssn.examination import (
    OFFSETS,
    central,
    first_readout,
    refitted,
    restricted,
    right_answers,
)
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec, orientation_map
from bioviz_ssn.models.cohort import SEEN, Cohort, observe
from bioviz_ssn.models.two_layer import READOUT, TwoLayerSSN
from bioviz_ssn.stages import Schedule, Session, Stage
from bioviz_ssn.tasks import FineTask, GeneralTask, Trials

GRID = GridSpec(points=3, size=1.6)
SEEDS = (3, 4)
RATES = np.full(2, 4e-3, np.float32)
SHORT = Schedule(
    pretraining_steps=4, pretraining_batch=8, pretraining_check=2, earliest_end=2,
    readout_trials=60, readout_steps=4, steps=6, batch=8, check=3, check_trials=10,
    psychometric_trials=10, earliest_plateau=100, checkpoint=2,
)  # fmt: skip


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    networks, tables = [], []
    for seed in SEEDS:
        where = orientation_map(np.random.default_rng(seed), GRID)
        params = TwoLayerSSN.default(seed, grid=GRID, readout_side=3).params
        networks.append(TwoLayerSSN.create(params, where, grid=GRID, readout_side=3))
        tables.append(GaborBank.create(where, (0.35, 0.2), GRID).table(step=5.0))
    return Cohort.stack(networks, tables)


class Stopping(Run):
    """A run that is asked to stop once it has logged so many rows."""

    def __init__(self, path: Path, rows: int) -> None:
        self.rows, self._asked = rows, False
        super().__init__(path, seed=0)

    @property
    def should_stop(self) -> bool:
        return self._asked or len(self.metrics()) >= self.rows

    @should_stop.setter
    def should_stop(self, value: bool) -> None:
        self._asked = value


def fine(cohort: Cohort, run: Run, **options: Any) -> Stage:
    given: dict[str, Any] = {"active": [1, 1], "first_offsets": [4.0, 8.0], **options}
    baseline = configuration("baseline")
    return stages.train(
        cohort, SEEDS, RATES, SHORT, run, phase="fine", configuration=baseline, **given
    )


def equal(one: Stage, other: Stage) -> None:
    assert one.memo == other.memo
    np.testing.assert_array_equal(one.history, other.history)
    for a, b in zip(
        jax.tree.leaves(one.cohort.params), jax.tree.leaves(other.cohort.params), strict=True
    ):
        np.testing.assert_array_equal(np.asarray(a), np.asarray(b))


def opened(path: Path) -> Run:
    path.mkdir(exist_ok=True)
    return Run(path, seed=0)


@pytest.mark.slow
def test_fine_training_that_was_stopped_goes_on_bit_for_bit(cohort: Cohort, tmp_path: Path) -> None:
    with opened(tmp_path / "quiet") as run:
        quiet = fine(cohort, run)
    (tmp_path / "stopped").mkdir()
    with Stopping(tmp_path / "stopped", rows=4) as run, pytest.raises(StoppedError):
        fine(cohort, run)
    with opened(tmp_path / "stopped") as run:
        resumed = fine(cohort, run)
        rows = run.metrics("fine")
    equal(resumed, quiet)
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5, 6]
    assert resumed.memo["staircase"] != [[4.0, 0], [8.0, 0]]
    assert [entry["step"] for entry in resumed.memo["checks"]] == [3, 6]


@pytest.mark.slow
def test_all_three_stages_leave_what_the_next_one_needs(cohort: Cohort, tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        start, accuracy, _ = first_readout(cohort, SEEDS, trials=60, shuffled=False)
        general = stages.pretrain(start, SEEDS, RATES, SHORT, run, phase="general")
        readout = stages.train_readout(
            general.cohort, SEEDS, RATES, SHORT, run, phase="readout", active=[1, 1]
        )
        trained = fine(readout.cohort, run)
    spread = np.asarray(start.params.readout).std(1)
    np.testing.assert_allclose(spread, READOUT, rtol=1e-5)
    assert ((accuracy >= 0) & (accuracy <= 1)).all()
    # Pretraining leaves kappas alone, the readout stage everything but the readout.
    kappas = general.cohort.params.superficial.kappa
    np.testing.assert_array_equal(kappas, start.params.superficial.kappa)
    assert (np.asarray(general.cohort.params.middle.log_j != start.params.middle.log_j)).all()
    np.testing.assert_array_equal(readout.cohort.params.log_f, general.cohort.params.log_f)
    assert (np.asarray(readout.cohort.params.readout != general.cohort.params.readout)).any()
    # Fine training freezes the readout and moves kappas.
    np.testing.assert_array_equal(trained.cohort.params.readout, readout.cohort.params.readout)
    assert (np.asarray(trained.cohort.params.superficial.kappa) != 0).any()
    # Rates are held to those at the end of pretraining.
    mean = np.asarray(readout.cohort.mean_rates)
    assert (mean != [[25, 50], [25, 50]]).all()
    shown = trained.history[0, :, SEEN.index("mean_E_m")]
    np.testing.assert_allclose(shown, mean[:, 0, 0], rtol=0.5)


@pytest.mark.slow
def test_a_seed_that_is_left_out_stays_and_changes_nothing_for_the_others(
    cohort: Cohort, tmp_path: Path
) -> None:
    with opened(tmp_path / "both") as run:
        both = fine(cohort, run)
    with opened(tmp_path / "one") as run:
        one = fine(cohort, run, active=[1, 0])
    np.testing.assert_array_equal(one.history[:, 0], both.history[:, 0])
    np.testing.assert_array_equal(one.cohort.params.middle.log_j[1], cohort.params.middle.log_j[1])
    assert one.memo["staircase"][1] == [8.0, 0]


@pytest.mark.slow
def test_seeds_that_all_fail_are_a_divergence_that_names_step_and_cause(
    cohort: Cohort, tmp_path: Path
) -> None:
    from dataclasses import replace

    middle = cohort.params.middle
    wild = replace(middle, log_j=middle.log_j.at[:, 0, 0].add(2.0))
    lost = cohort.with_state(replace(cohort.params, middle=wild))
    with opened(tmp_path) as run, pytest.raises(DivergedError, match="states not found") as error:
        fine(lost, run)
    assert error.value.step == 1


@pytest.mark.slow
def test_a_seed_that_failed_keeps_its_reason_whatever_its_threshold(
    cohort: Cohort, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    middle = cohort.params.middle
    wild = replace(middle, log_j=middle.log_j.at[1, 0, 0].add(2.0))
    lost = cohort.with_state(replace(cohort.params, middle=wild))
    monkeypatch.setattr(stages, "measured_thresholds", lambda counts, trials: np.full(2, 10.0))
    with opened(tmp_path) as run:
        stage = stages.pretrain(lost, SEEDS, RATES, SHORT, run, phase="general")
    assert list(stage.failed) == [1]
    assert stage.memo["ended"]["0"]["why"] == "thresholds in (5, 25)"
    assert "states not found" in stage.memo["ended"]["1"]["why"]
    assert stage.memo["ended"]["1"]["step"] == 1


def test_no_seed_left_means_no_training(cohort: Cohort, tmp_path: Path) -> None:
    with opened(tmp_path) as run:
        stage = fine(cohort, run, active=[0, 0])
    assert stage.steps == 0
    assert stage.cohort is cohort


def test_the_fine_task_reads_the_centre_alone(cohort: Cohort) -> None:
    big = GridSpec().central(5)
    assert central(cohort).sum() == 9  # a grid of 3 x 3 is all centre
    assert len(big) == 25
    np.testing.assert_array_equal(restricted(cohort).params.readout, cohort.params.readout)


def test_right_answers_depend_on_the_seed_and_the_name_alone(cohort: Cohort) -> None:
    once = right_answers(cohort, SEEDS, "test", trials=10)
    again = right_answers(cohort, SEEDS, "test", trials=10)
    other = right_answers(cohort, SEEDS, "other", trials=10)
    assert once.shape == (2, len(OFFSETS))
    np.testing.assert_array_equal(once, again)
    assert (once != other).any()
    assert ((once >= 0) & (once <= 10)).all()


def test_a_refitted_readout_tells_large_offsets_apart_and_a_shuffled_one_does_not(
    cohort: Cohort,
) -> None:
    fitted, _, _ = refitted(cohort, SEEDS, "fit", trials=400)
    right = right_answers(fitted, SEEDS, "test", trials=100, offsets=[20.0])
    assert (right > 65).all()
    coins, _, _ = refitted(cohort, SEEDS, "fit", trials=400, shuffled=True)
    by_chance = right_answers(coins, SEEDS, "test", trials=100, offsets=[20.0])
    assert by_chance.mean() < right.mean()


def test_blocks_and_company_leave_an_observation_as_it_is(cohort: Cohort) -> None:
    rng = np.random.default_rng(0)
    shown = rng.uniform(0, 180, (7, 2, 2)).astype(np.float32)
    noise = rng.standard_normal((7, 2, 2, cohort.n_noise)).astype(np.float32)
    seen = observe(cohort, shown, noise)
    part = observe(cohort, shown[:3], noise[:3])
    np.testing.assert_allclose(seen.z[:3], part.z, rtol=1e-3, atol=1e-4)
    assert seen.rates.shape == (7, 2, 2, 2, 2, 9)
    np.testing.assert_allclose(
        seen.rates[..., 1, 0, :].mean(-1), seen.mean_rates[..., 1, 0], rtol=1e-5
    )


def session(**options: Any) -> Session:
    trials = Trials(FineTask(), seeds=SEEDS, noise=4)
    return Session(trials, **{"mask": [1, 0], **options})


def test_a_session_shows_each_seed_its_own_offset() -> None:
    batch: Any = session(offsets=[2.0, 6.0]).batch(range(20))
    apart = np.abs(np.diff(batch["orientations"], axis=-1))[..., 0]
    np.testing.assert_allclose(apart, np.broadcast_to([2.0, 6.0], apart.shape), atol=1e-4)
    assert batch["mask"][0].tolist() == [1, 0]
    assert batch["flip"][0].tolist() == [0, 0]


def test_a_session_is_pure() -> None:
    one, other = (session(offsets=[2.0, 6.0]).batch([5, 1], epoch=3) for _ in range(2))
    for key, value in one.items():
        np.testing.assert_array_equal(value, other[key])  # type: ignore[literal-required]


def test_shuffled_labels_know_nothing_of_the_stimuli() -> None:
    trials = Trials(GeneralTask(), seeds=SEEDS, noise=0)
    batch: Any = Session(trials, mask=[1, 1], shuffled=True).batch(range(1000))
    larger = batch["orientations"][..., 0] > batch["orientations"][..., 1]
    assert abs(np.mean(batch["labels"] == larger) - 0.5) < 0.04  # 2.5 standard errors
    assert abs(batch["labels"].mean() - 0.5) < 0.04


@pytest.mark.parametrize(
    ("share", "upside_down"),
    [
        ([0.45, 0.4, 0.3, 0.2, 0.1], True),
        ([0.55, 0.6, 0.7, 0.8, 0.9], False),
        ([0.95, 0.9, 0.85, 0.8, 0.75], False),  # falls, but above chance
        ([0.4, 0.5, 0.4, 0.5, 0.4], False),  # no trend
    ],
)
def test_answers_are_upside_down_where_they_fall_with_the_offset_below_chance(
    share: list[float], upside_down: bool
) -> None:
    assert stages._upside_down(np.array(share)) is upside_down


def test_a_plateau_is_two_windows_without_a_difference() -> None:
    rng = np.random.default_rng(0)
    flat = [{"accuracy": [rng.uniform(0.7, 0.8, 5).tolist()]} for _ in range(20)]
    rising = [{"accuracy": [[0.5 + 0.02 * k] * 5]} for k in range(20)]
    assert stages._plateau(flat, 0, 10)
    assert not stages._plateau(rising, 0, 10)
    assert not stages._plateau(flat[:19], 0, 10)
