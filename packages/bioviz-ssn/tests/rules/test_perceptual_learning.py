from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from bioviz_core.errors import IncompatibleError
from bioviz_core.lab.fit import fit
from bioviz_core.stimuli.sources import ArraySource
from bioviz_ssn.ablations import ALL, trained_mask
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec, orientation_map
from bioviz_ssn.losses import LossWeights
from bioviz_ssn.models.cohort import SEEN, Cohort
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.parameters import NAMES
from bioviz_ssn.rules.perceptual_learning import PerceptualLearning
from bioviz_ssn.tasks import FineTask, Trials

GRID = GridSpec(points=3, size=1.6)
SEEDS = (3, 4, 5)
TRIALS = 8


@pytest.fixture(scope="module")
def cohort() -> Cohort:
    networks, tables = [], []
    for seed in SEEDS:
        where = orientation_map(np.random.default_rng(seed), GRID)
        params = TwoLayerSSN.default(seed, grid=GRID, readout_side=3).params
        networks.append(TwoLayerSSN.create(params, where, grid=GRID, readout_side=3))
        tables.append(GaborBank.create(where, (0.35, 0.2), GRID).table(step=5.0))
    return Cohort.stack(networks, tables)


@jax.jit
def step(rule: Any, model: Any, batch: Any, state: Any) -> Any:
    return tuple(rule.step(model, batch, state, seed=0))


def batch_of(cohort: Cohort, **keys: Any) -> Any:
    """Fine trials with further keys by seed: all of them, so that the step compiles once."""
    source = Trials(FineTask(), seeds=SEEDS, noise=cohort.n_noise)
    batch: Any = source.batch(range(TRIALS))
    given = {"mask": [1, 1, 1], "flip": [0, 0, 0], **keys}
    shape = batch["labels"].shape
    extra = {key: np.broadcast_to(np.float32(v), shape) for key, v in given.items()}
    return {key: batch[key] for key in PerceptualLearning.reads} | extra


def run(cohort: Cohort, trained: Any = ALL, **keys: Any) -> Any:
    rule = PerceptualLearning.create(trained_mask(trained, cohort.params, readout=True))
    state = rule.init(cohort, {}, seed=0)
    return step(rule, cohort, batch_of(cohort, **keys), state)


def same(one: Any, other: Any, places: list[int]) -> None:
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        np.testing.assert_array_equal(np.asarray(a)[places], np.asarray(b)[places])


def test_every_seed_moves_and_shows_what_it_saw(cohort: Cohort) -> None:
    model, _, metrics = run(cohort)
    for before, after in zip(
        jax.tree.leaves(cohort.params.middle.log_j), jax.tree.leaves(model.params.middle.log_j),
        strict=True,
    ):  # fmt: skip
        assert (np.asarray(before) != np.asarray(after)).all()
    assert set(model.seen) == set(SEEN) <= set(metrics)
    assert all(np.shape(value) == (3,) for value in model.seen.values())
    assert float(metrics["seeds"]) == 3
    assert float(metrics["loss"]) == pytest.approx(float(np.mean(model.seen["loss"])), rel=1e-6)
    assert set(NAMES) <= set(metrics)


def test_one_bad_seed_leaves_the_others_bit_for_bit_and_is_flagged(cohort: Cohort) -> None:
    middle = cohort.params.middle
    wild = replace(middle, log_j=middle.log_j.at[1, 0, 0].add(2.0))
    bad = cohort.with_state(replace(cohort.params, middle=wild))
    good_model, good_state, _ = run(cohort)
    model, state, metrics = run(bad)
    same((model.params, state), (good_model.params, good_state), [0, 2])
    same(model.params, bad.params, [1])
    assert np.asarray(model.seen["sound"]).tolist() == [1, 0, 1]
    assert float(model.seen["n_unconverged"][1]) > TRIALS
    assert float(metrics["seeds"]) == 2
    assert all(np.isfinite(value) for value in metrics.values())


def test_a_parameter_that_is_not_a_number_stays_in_its_seed(cohort: Cohort) -> None:
    poisoned = replace(cohort.params, bias=cohort.params.bias.at[2].set(jnp.nan))
    model, _, metrics = run(cohort.with_state(poisoned))
    same(model.params, run(cohort)[0].params, [0, 1])
    assert np.asarray(model.seen["sound"]).tolist() == [1, 1, 0]
    assert np.isfinite(float(metrics["loss"]))


def test_a_masked_seed_stays_as_it_is(cohort: Cohort) -> None:
    model, state, _ = run(cohort, mask=[1, 0, 1])
    everyone, moments, _ = run(cohort)
    same(model.params, cohort.params, [1])
    same((model.params, state), (everyone.params, moments), [0, 2])


def test_flipping_turns_the_readout_and_its_moments_over_instead_of_learning(
    cohort: Cohort,
) -> None:
    rule = PerceptualLearning.create(trained_mask(ALL, cohort.params, readout=True))
    batch = batch_of(cohort)
    model, state, _ = step(rule, cohort, batch, rule.init(cohort, {}, seed=0))
    turned, after, _ = step(rule, model, batch_of(cohort, flip=[0, 1, 0]), state)
    on, moments, _ = step(rule, model, batch, state)
    np.testing.assert_array_equal(turned.params.readout[1], -model.params.readout[1])
    np.testing.assert_array_equal(turned.params.bias[1], -model.params.bias[1])
    mu_before, mu_after = (optax.tree.get(s, "mu").readout for s in (state, after))
    np.testing.assert_array_equal(mu_after[1], -mu_before[1])
    same(turned.params.middle, model.params.middle, [1])
    same((turned.params, after), (on.params, moments), [0, 2])


def test_what_is_not_trained_keeps_its_bits(cohort: Cohort) -> None:
    model, _, _ = run(cohort, trained=["J_II_s"])
    before, after = cohort.params, model.params
    same(after.middle, before.middle, [0, 1, 2])
    changed = np.asarray(before.superficial.log_j != after.superficial.log_j)
    assert changed.tolist() == [[[False, False], [False, True]]] * 3


def test_a_seed_learns_the_same_alone_as_in_company(cohort: Cohort) -> None:
    from bioviz_ssn.losses import discrimination_loss

    batch, place = batch_of(cohort), 1
    own = cohort.member(place)
    table = jax.tree.map(lambda leaf: leaf[place], cohort.table)
    to_drives, to_readout = cohort.split_noise(jnp.asarray(batch["noise"][:, place]))
    orientations = batch["orientations"][:, place]

    @jax.jit
    def alone(params: Any) -> Any:
        drive = table.drive(orientations, to_drives)
        labels = batch["labels"][:, place]
        return discrimination_loss(own, params, drive, labels, to_readout)[0]

    model, _, _ = run(cohort)
    assert float(model.seen["loss"][place]) == pytest.approx(float(alone(own.params)), rel=1e-4)


def test_rules_that_differ_in_numbers_share_a_compiled_step_and_loss_weights_count(
    cohort: Cohort,
) -> None:
    before = step._cache_size()
    rule = PerceptualLearning.create(
        trained_mask(["c"], cohort.params), weights=LossWeights(task=0, w=0), learning_rate=1.0
    )
    run(cohort)
    model, _, _ = step(rule, cohort, batch_of(cohort), rule.init(cohort, {}, seed=0))
    assert step._cache_size() == max(before, 1)
    assert float(model.seen["task"].sum()) == 0
    # Adam's first step is the learning rate.
    moved = np.abs(np.asarray(model.params.middle.baseline - cohort.params.middle.baseline))
    np.testing.assert_allclose(moved, 1, rtol=1e-3)


def test_a_source_without_trials_is_refused(cohort: Cohort) -> None:
    rule: Any = PerceptualLearning.create(trained_mask(ALL, cohort.params))
    source = ArraySource(inputs=np.zeros((4, 2)))
    with pytest.raises(IncompatibleError, match="orientations"):
        fit(cohort, rule, source, steps=1, batch_size=2)  # type: ignore[type-var]
