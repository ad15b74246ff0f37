from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from bioviz_core.interfaces import StimulusSource
from bioviz_core.testing import stimuli as checks
from bioviz_core.testing.tasks import Case
from bioviz_ssn.errors import ParameterError
from bioviz_ssn.stimuli import StimulusSpec
from bioviz_ssn.tasks import FineTask, GeneralTask, ImageTrials, Trials
from hypothesis import given
from hypothesis import strategies as st

SMALL = StimulusSpec(half_width=0.5, resolution=10.0, radius=0.3)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@given(st.floats(0, 90), st.floats(0, 180), st.floats(0, 30), st.integers(0, 9))
def test_fine_targets_lie_one_offset_from_their_reference(
    offset: float, reference: float, jitter: float, seed: int
) -> None:
    trials = FineTask(offset, reference, jitter).draw(np.random.default_rng(seed), 50)
    shown, target = trials["orientations"].T
    assert (np.abs(shown - reference) <= jitter + 1e-9).all()
    side = np.where(trials["labels"] == 1, -1, 1)
    np.testing.assert_allclose(target - shown, offset * side, atol=1e-9)


def test_fine_trials_use_all_of_their_jitter_and_both_sides(rng: np.random.Generator) -> None:
    trials = FineTask().draw(rng, 4000)
    shift = trials["orientations"][:, 0] - 55
    assert shift.min() < -4.9 < 4.9 < shift.max()
    # Five standard errors.
    assert abs(shift.mean()) < 5 * 10 / np.sqrt(12 * 4000)
    assert abs(trials["labels"].mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)
    assert abs(np.corrcoef(shift, trials["labels"])[0, 1]) < 5 / np.sqrt(4000)


def test_general_pairs_are_five_to_twenty_degrees_apart(rng: np.random.Generator) -> None:
    trials = GeneralTask().draw(rng, 4000)
    reference, target = trials["orientations"].T
    apart = np.abs(reference - target)
    assert 5 <= apart.min() < 5.1
    assert 19.9 < apart.max() <= 20
    np.testing.assert_array_equal(trials["labels"], reference > target)
    assert abs(trials["labels"].mean() - 0.5) < 5 * 0.5 / np.sqrt(4000)
    within = (trials["orientations"] >= 15) & (trials["orientations"] <= 165)
    assert within.any(1).all()
    assert not within.all()


def test_labels_do_not_tell_which_orientation_is_within_range(rng: np.random.Generator) -> None:
    trials = GeneralTask().draw(rng, 8000)
    within = (trials["orientations"] >= 15) & (trials["orientations"] <= 165)
    first_out = ~within[:, 0]
    share = first_out[~within.all(1)].mean()
    assert abs(share - 0.5) < 5 * 0.5 / np.sqrt((~within.all(1)).sum())


def test_offset_zero_shows_the_same_stimulus_twice(rng: np.random.Generator) -> None:
    trials = FineTask(offset=0).draw(rng, 100)
    np.testing.assert_array_equal(trials["orientations"][:, 0], trials["orientations"][:, 1])
    assert set(trials["labels"]) == {0, 1}


def test_pairs_are_the_same_under_jit_with_an_offset_for_each_seed() -> None:
    uniforms = np.random.default_rng(1).random((3, 20, 2), np.float32)
    offsets = np.array([[1.0], [2.0], [3.0]], np.float32)
    task = FineTask()
    expected = task.pairs(uniforms, offset=offsets)
    found = jax.jit(jax.vmap(lambda u, o: task.pairs(u, offset=o)))(
        jnp.asarray(uniforms), jnp.asarray(offsets)
    )
    for key in ("orientations", "labels"):
        np.testing.assert_allclose(found[key], expected[key], rtol=1e-6)


@pytest.mark.parametrize(
    "source",
    [
        Trials(FineTask(), seeds=3, count=8),
        Trials(GeneralTask(), seeds=(3, 4), count=8, noise=5),
        ImageTrials(FineTask(), SMALL, seed=3, count=8),
    ],
    ids=["one seed", "two seeds", "images"],
)
def test_trials_are_a_source_of_core(source: StimulusSource) -> None:
    case = Case("trials", make=lambda: source)
    for check in (
        checks.check_stimulus_fields,
        checks.check_stimulus_pure,
        checks.check_stimulus_order,
    ):
        check(case)


def test_stacked_seeds_hold_what_each_seed_gives() -> None:
    stacked = Trials(GeneralTask(), seeds=(3, 4), count=8, noise=5)
    both = stacked.batch([5, 2], epoch=1)
    for place, seed in enumerate(stacked.seeds):
        one = Trials(GeneralTask(), seeds=seed, count=8, noise=5).batch([5, 2], epoch=1)
        for key in ("orientations", "labels", "uniforms", "noise"):
            np.testing.assert_array_equal(both[key][:, place], one[key])  # type: ignore[literal-required]


def test_epochs_bring_new_trials_and_stimuli_have_own_noise() -> None:
    source = Trials(FineTask(), seeds=0, count=8)
    first, second = source.batch(range(8)), source.batch(range(8), epoch=1)
    assert (first["noise"] != second["noise"]).all()
    assert (first["noise"][:, 0] != first["noise"][:, 1]).all()


def test_empty_batches_keep_their_shape() -> None:
    batch = Trials(FineTask(), seeds=(0, 1), count=8, noise=5).batch([])
    assert batch["noise"].shape == (0, 2, 2, 5)
    assert batch["labels"].shape == (0, 2)


def test_image_trials_are_gratings_with_pixel_noise() -> None:
    source = ImageTrials(FineTask(), seed=0, count=4)
    images = np.asarray(source.batch([0, 1, 2, 3])["inputs"])
    corner = images[..., :15, :15]  # gray but for noise
    assert abs(corner.mean() - 384) < 5 * 100 / np.sqrt(corner.size)
    assert abs(corner.std() - 100) < 5 * 100 / np.sqrt(2 * corner.size)


def test_what_is_no_task_is_refused() -> None:
    with pytest.raises(ParameterError, match="offset"):
        FineTask(offset=-1.0)
    with pytest.raises(ParameterError, match="distances"):
        GeneralTask(nearest=21.0)
    with pytest.raises(ParameterError, match="seed"):
        Trials(FineTask(), seeds=())
    with pytest.raises(ParameterError, match="trial"):
        Trials(FineTask(), seeds=0, count=0)
