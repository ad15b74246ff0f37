from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.lab import seeding


def test_a_stream_is_its_name_and_the_seed() -> None:
    one, two = seeding.rng(3, "noise", 1).random(4), seeding.rng(3, "noise", 1).random(4)
    np.testing.assert_array_equal(one, two)
    assert seeding.seed_for(3, "noise") == seeding.seed_for(3, "noise")


def test_names_that_look_alike_are_different_streams() -> None:
    names = [("a", "b"), ("ab",), ("a, b",), (1,), ("1",), (), ("a", "b", "")]
    seeds = {seeding.seed_for(seed, *name) for seed in (0, 1, 2**40) for name in names}
    assert len(seeds) == 3 * len(names)


def test_seeds_stay_the_same_in_every_version() -> None:
    assert seeding.seed_for(0, "fit", 7) == SEED_OF_FIT_7


def test_a_seed_fits_numpy_torch_and_jax() -> None:
    assert all(0 <= seeding.seed_for(0, i) < 2**32 for i in range(1000))


def test_a_negative_seed_is_refused() -> None:
    with pytest.raises(ValueError, match="must not be negative, got -1"):
        seeding.rng(-1)


SEED_OF_FIT_7 = 1186793750
