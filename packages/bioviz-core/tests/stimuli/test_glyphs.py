from __future__ import annotations

import numpy as np
import pytest
from bioviz_core.analyses.readout import fit_readout, score
from bioviz_core.stimuli.glyphs import BITMAPS, draw_glyph, glyphs, multi_glyphs, overlay
from bioviz_core.stimuli.sources import column, sample_rng


def test_ten_bitmaps_of_seven_by_five_are_all_different() -> None:
    assert BITMAPS.shape == (10, 7, 5)
    assert len({bitmap.tobytes() for bitmap in BITMAPS}) == 10


def test_a_glyph_depends_on_its_seed_and_index_alone() -> None:
    few, many = glyphs(5, seed=3), glyphs(9, seed=3)
    for key in ("inputs", "labels"):
        np.testing.assert_array_equal(column(few, key), column(many, key)[:5])
    assert not np.array_equal(column(few, "inputs"), column(glyphs(5, seed=4), "inputs"))


def test_labels_are_uniform_and_images_bright_digits_on_black() -> None:
    source = glyphs(1500, seed=1)
    found = source.batch(range(1500))
    counts = np.bincount(found["labels"], minlength=10)
    assert np.abs(counts - 150).max() < 4 * np.sqrt(150 * 0.9)
    assert found["inputs"].shape == (1500, 1, 28, 28)
    assert (found["inputs"].max((1, 2, 3)) > 0.7).all()
    assert np.median(found["inputs"]) == 0
    assert source.fields["labels"].classes == 10


@pytest.mark.slow
def test_glyphs_vary_and_can_still_be_told_apart() -> None:
    source = glyphs(2500, seed=0)
    images, labels = column(source, "inputs"), column(source, "labels")
    readout = fit_readout(images[:2000], labels[:2000], c=1e-3)
    assert 0.6 < score(readout, images[2000:], labels[2000:]).accuracy < 0.999


def test_an_overlay_puts_the_partner_six_pixels_down_and_right() -> None:
    first, second = np.zeros((2, 1, 28, 28))
    first[0, 0, 0], second[0, 27, 27] = 1.0, 0.5
    found = overlay(first, second)[0]
    assert found[0, 0] == 1
    # Canvas pixel 33 is 33 * 28 / 36 = 25.7 of the output; row 26 shows canvas row 33.
    assert found[26, 26] == 0.5
    assert found.sum() == 1.5


def test_the_brighter_pixel_wins_in_the_overlap() -> None:
    found = overlay(np.full((1, 28, 28), 0.2), np.full((1, 28, 28), 0.7))[0]
    assert found[0, 0] == 0.2
    assert (found[5:22, 5:22] == 0.7).all()
    assert found[27, 0] == 0


def test_the_task_says_which_digit_the_label_is() -> None:
    source = multi_glyphs(400, seed=2)
    found = source.batch(range(400))
    np.testing.assert_array_equal(found["labels"], found["pair"][np.arange(400), found["task"]])
    assert found["task"].mean() == pytest.approx(0.5, abs=0.1)
    assert source.fields["task"].classes == 2
    rng = sample_rng(2, 1)
    (first, label), (second, other) = draw_glyph(rng), draw_glyph(rng)
    assert found["pair"][1].tolist() == [label, other]
    np.testing.assert_array_equal(found["inputs"][1, 0], overlay(first, second).astype(np.float32))
