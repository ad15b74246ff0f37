from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from bioviz_core.lab.report.tokens import TOKENS
from skimage.color import deltaE_ciede2000, rgb2lab

SIX = ("red", "blue", "teal", "grey", "amber", "violet")
# Machado, Oliveira and Fernandes 2009, severity 1, for linear RGB.
MACHADO = {
    "protan": [[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216],
               [-0.003882, -0.048116, 1.051998]],
    "deutan": [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413],
               [-0.011820, 0.042940, 0.968881]],
    "tritan": [[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602],
               [0.004733, 0.691367, 0.303900]],
}  # fmt: skip


def linear(color: str) -> np.ndarray:
    rgb = np.array([int(color[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    return np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)


def simulated(color: str, kind: str) -> np.ndarray:
    seen = np.clip(np.array(MACHADO[kind]) @ linear(color), 0, 1)
    return np.where(seen > 0.0031308, 1.055 * seen ** (1 / 2.4) - 0.055, 12.92 * seen)


def contrast(one: str, other: str) -> float:
    a, b = (linear(color) @ [0.2126, 0.7152, 0.0722] + 0.05 for color in (one, other))
    return float(max(a, b) / min(a, b))


def test_contrast_is_21_between_black_and_white():
    assert contrast("#000000", "#FFFFFF") == pytest.approx(21)


@pytest.mark.parametrize(("theme", "least"), [("light", 5.6), ("dark", 6.5)])
def test_text_has_the_contrast_that_the_style_promises(theme, least):
    t = TOKENS[theme]
    pairs = [
        (t[text], t[card]) for text in ("ink", "muted") for card in ("page", "surface", "sunk")
    ]
    pairs += [(t[word], t[f"{word}-fill"]) for word in ("ok", "no", "idle")]
    pairs += [(t[word], t["surface"]) for word in ("ok", "no", "idle")]
    assert min(contrast(*pair) for pair in pairs) >= least - 0.05


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_six_colours_and_dark_ramp_stand_out_on_their_card(theme):
    t = TOKENS[theme]
    assert min(contrast(t[name], t["surface"]) for name in SIX) >= 4.5
    ramp = [contrast(t[f"ramp-{place}"], t["surface"]) for place in range(4)]
    assert ramp == sorted(ramp)
    assert min(ramp) >= 3.6 - 0.05
    assert min(ramp[2:]) >= 4.5


@pytest.mark.parametrize(("theme", "least"), [("light", 12.0), ("dark", 11.2)])
def test_no_two_of_the_six_look_alike_to_the_colour_blind(theme, least):
    distances = [
        deltaE_ciede2000(*(rgb2lab(simulated(TOKENS[theme][name], kind)) for name in pair))
        for kind in MACHADO
        for pair in combinations(SIX, 2)
    ]
    assert float(min(distances)) == pytest.approx(least, abs=0.06)
