"""Walls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from bioviz_nrf import Bounds, Box, Gaussian, HalfLine, from_energy, langevin
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import dblquad
from scipy.stats import kstest


@given(st.floats(-1e4, 1e4), st.floats(-5, 5), st.floats(0.1, 10))
def test_folding_ends_inside_and_agrees_with_mirroring_by_hand(
    x: float, low: float, width: float
) -> None:
    box = Box(low, low + width)
    folded, turned = box.fold(torch.tensor([x], dtype=torch.float64))
    assert box.contains(folded)
    # A triangle wave of period 2 width, and a turn on its falling side.
    phase = math.fmod(math.fmod(x - low, 2 * width) + 2 * width, 2 * width)
    assert float(folded) == pytest.approx(low + min(phase, 2 * width - phase), abs=1e-8)
    if abs(phase - width) > 1e-8 and 1e-8 < phase < 2 * width - 1e-8:
        assert bool(turned) == (phase > width)


def test_inside_and_on_a_wall_nothing_is_moved() -> None:
    x = torch.tensor([-1.0, -0.3, 0.0, 1.0])
    folded, turned = Box(-1, 1).fold(x)
    assert torch.equal(folded, x)
    assert not turned.any()


def test_a_half_line_mirrors_at_its_one_wall() -> None:
    folded, turned = HalfLine(0).fold(torch.tensor([-2.0, 3.0]))
    assert folded.tolist() == [2.0, 3.0]
    assert turned.tolist() == [True, False]


def test_walls_in_the_wrong_order_and_starts_outside_are_refused() -> None:
    with pytest.raises(ValueError, match="low must be below high"):
        Bounds(1, 1)
    kernel = langevin(from_energy(lambda x: x.sum(-1)), bounds=Box(0, 1))
    with pytest.raises(ValueError, match="start outside"):
        kernel.init(torch.full((1, 1), 2.0), generator=torch.Generator())


def test_reflections_run_backwards_too() -> None:
    energy = from_energy(lambda x: (x.square() / 2).sum(-1))
    kernel = langevin(energy, step_size=0.1, friction=0.0, bounds=Box(-0.5, 0.8))
    generator = torch.Generator().manual_seed(0)
    start = torch.rand(6, 2, dtype=torch.float64, generator=generator) - 0.4
    state = kernel.init(start, generator=generator)
    met = 0.0
    for _ in range(40):
        state, info = kernel.step(state)
        met += float(info.folded)
    assert met > 0
    state = kernel.init(state.position, momentum=-state.momentum, generator=generator)
    for _ in range(40):
        state, _ = kernel.step(state)
    assert torch.allclose(state.position, start, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["baoab", "sgld"])
def test_a_truncated_gaussian_keeps_its_moments_and_has_no_atoms_on_the_walls(scheme: str) -> None:
    covariance = torch.tensor([[1.0, 0.7], [0.7, 1.0]], dtype=torch.float64)
    target = Gaussian(torch.linalg.inv(covariance), torch.zeros(2, dtype=torch.float64))
    matrix = target.precision.numpy()

    def density(y: float, x: float) -> float:
        z = np.array([x, y])
        return float(np.exp(-z @ matrix @ z / 2))

    def moment(f: object) -> float:
        return dblquad(lambda y, x: f(x, y) * density(y, x), -1, 0.5, -1, 0.5)[0]  # type: ignore[operator]

    mass = moment(lambda x, y: 1.0)
    mean = moment(lambda x, y: x) / mass
    variance = moment(lambda x, y: x * x) / mass - mean**2
    cross = moment(lambda x, y: x * y) / mass - mean**2

    step_size = 0.15 if scheme == "baoab" else 0.002
    box = Box(-1, 0.5)
    kernel = langevin(target, step_size=step_size, scheme=scheme, bounds=box)  # type: ignore[arg-type]
    generator = torch.Generator().manual_seed(0)
    chains = 40_000
    start = box.uniform(torch.empty(chains, 2, dtype=torch.float64), generator)
    state = kernel.init(start, generator=generator)
    for _ in range(100 if scheme == "baoab" else 600):
        state, _ = kernel.step(state)
    x = state.position
    assert not ((x == -1) | (x == 0.5)).any()
    # Independent chains: a standard error of sd / 200, and about var * sqrt(2) / 200 for moments.
    assert x.mean(0).tolist() == pytest.approx([mean] * 2, abs=4 * math.sqrt(variance / chains))
    found = torch.cov(x.T).numpy()
    slack = 4 * variance * math.sqrt(2 / chains)
    assert np.diag(found) == pytest.approx(variance, abs=slack + 3e-4)
    assert found[0, 1] == pytest.approx(cross, abs=slack + 3e-4)


def test_a_uniform_law_on_a_box_stays_uniform() -> None:
    kernel = langevin(lambda x: (x.sum(-1) * 0, x * 0), step_size=0.7, bounds=Box(-1, 1))
    generator = torch.Generator().manual_seed(0)
    state = kernel.init(torch.zeros(5000, 1, dtype=torch.float64), generator=generator)
    for _ in range(30):
        state, _ = kernel.step(state)
    assert kstest(state.position[:, 0].numpy(), "uniform", (-1, 2)).pvalue > 1e-3
