from __future__ import annotations

import bioviz_core as bv
import numpy as np
import pytest
from bioviz_core.stimuli.embedded import PHOTOGRAPHS, TEXTURES, digits, photograph, photographs
from bioviz_core.stimuli.sources import column


def test_digits_are_all_there_and_their_parts_are_disjoint_and_stratified() -> None:
    train, test = digits("train"), digits("test")
    assert (len(digits()), len(train), len(test)) == (1797, 1437, 360)
    assert not set(train.batch(range(1437))["index"]) & set(test.batch(range(360))["index"])
    assert np.ptp(np.bincount(column(test, "labels"))) <= 2
    found = train.batch([0])
    assert found["inputs"].shape == (1, 1, 8, 8)
    assert column(train, "inputs").max() == 1
    with pytest.raises(ValueError, match="part"):
        digits("dev")


def test_every_picture_comes_with_the_wheel() -> None:
    for name in PHOTOGRAPHS + TEXTURES:
        assert photograph(name).shape[0] == 3
        assert photograph(name, color=False).shape[0] == 1
    with pytest.raises(ValueError, match="got 'lena'"):
        photograph("lena")


def test_grey_is_the_weighted_sum_of_colours() -> None:
    color, grey = photograph("chelsea").astype(float), photograph("chelsea", color=False)
    expected = 0.299 * color[0] + 0.587 * color[1] + 0.114 * color[2]
    assert np.abs(grey[0] - expected).max() <= 0.5 + 1e-9


def test_photographs_are_squares_that_registered_names_give_too() -> None:
    source = bv.create("core/photographs", size=32, color=False)
    assert source.fields["inputs"].shape == (1, 32, 32)
    assert len(source) == len(photographs(32)) == len(PHOTOGRAPHS)
