"""Bounds on retrieval, against worked values and against retrieval itself."""

from __future__ import annotations

import pytest
import torch
from bioviz_hopfield import theory
from bioviz_hopfield.functional import retrieve


def test_capacity_constants_of_the_paper() -> None:
    first = theory.capacity_constant(20, beta=1.0, scale=3.0, failure=0.001)
    second = theory.capacity_constant(75, beta=1.0, scale=1.0, failure=0.001)
    assert first == pytest.approx(3.1546, abs=5e-4)
    assert second == pytest.approx(1.3719, abs=5e-4)
    bound = theory.capacity_bound(20, beta=1.0, scale=3.0, failure=0.001)
    assert bound == pytest.approx(0.001**0.5 * first ** (19 / 4))


def test_separation_of_orthogonal_patterns_is_their_squared_norm() -> None:
    assert torch.equal(theory.separation(3 * torch.eye(4)), torch.full((4,), 9.0))
    assert torch.equal(theory.separation(torch.ones(1, 4)), torch.tensor([torch.inf]))


@pytest.mark.parametrize("seed", range(5))
def test_errors_of_well_separated_patterns_stay_under_the_bounds(seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    patterns = torch.randn(40, 64, dtype=torch.float64, generator=generator)
    patterns = 8 * patterns / patterns.norm(dim=-1, keepdim=True)
    beta, largest = 0.5, theory.radius(patterns)
    well = theory.separation(patterns) >= theory.needed_separation(patterns, beta=beta)
    assert well.sum() >= 30
    noise = torch.randn(40, 64, dtype=torch.float64, generator=generator)
    noise = noise / noise.norm(dim=-1, keepdim=True) / (2 * beta * largest)
    query = patterns + noise
    settled = retrieve(query, patterns, beta=beta, tol=1e-13)
    rounding = 1e-12
    gap = (settled - patterns).norm(dim=-1)
    assert (gap <= theory.fixed_point_bound(patterns, beta=beta) + rounding)[well].all()
    distance = torch.maximum(noise.norm(dim=-1), gap)
    once = (retrieve(query, patterns, beta=beta) - patterns).norm(dim=-1)
    bound = theory.one_step_bound(patterns, distance, beta=beta)
    assert (once <= bound + rounding)[well].all()
    # Teeth: the bound is far from vacuous.
    assert (bound[well] < largest).all()


def test_impossible_arguments_are_refused() -> None:
    with pytest.raises(ValueError, match="needs dim > 1"):
        theory.capacity_constant(1, beta=1.0, scale=1.0, failure=0.1)
