"""The published sampler, and what it gets wrong."""

from __future__ import annotations

import math

import pytest
import torch
from bioviz_nrf import Gaussian
from bioviz_nrf.sampling.replica import replica

WELL = Gaussian(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize(("step_size", "variance"), [(0.4, 0.842), (0.8, 0.818)])
def test_without_its_limits_the_needless_correction_alone_costs_variance(
    step_size: float, variance: float
) -> None:
    start = torch.zeros(20_000, 1, dtype=torch.float64)
    ends = replica(
        WELL, start, steps=1, burn_in=60, step_size=step_size, damping=step_size, adapts=False,
        limits=(0.0, math.inf), generator=generator(),
    )[-1]  # fmt: skip
    # The table of the specification; 20,000 chains have the relative standard error 0.01.
    assert float(ends.var()) == pytest.approx(variance, rel=0.04)


@pytest.mark.parametrize(("adapts", "expected"), [(True, 0.0074), (False, 0.05)])
def test_the_limits_make_it_cold_and_adapted_masses_colder(adapts: bool, expected: float) -> None:
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    target = Gaussian(torch.linalg.inv(covariance), torch.zeros(2, dtype=torch.float64))
    start = torch.zeros(2000, 2, dtype=torch.float64)
    kept = replica(target, start, steps=50, burn_in=400, adapts=adapts, generator=generator())
    assert kept.shape == (50, 2000, 2)
    assert float(torch.cov(kept[-1].T).trace() / 2) == pytest.approx(expected, rel=0.15)
