"""Chains of a Gaussian, and what a trace holds."""

from __future__ import annotations

import math

import pytest
import torch
from bioviz_nrf import Gaussian, NotSamplesWarning, langevin, sample


def test_moments_of_a_shifted_correlated_gaussian() -> None:
    covariance = torch.tensor([[1.0, 0.8], [0.8, 1.0]], dtype=torch.float64)
    mean = torch.tensor([2.0, -1.0], dtype=torch.float64)
    target = Gaussian(torch.linalg.inv(covariance), mean)
    kernel = langevin(target, step_size=0.4)
    generator = torch.Generator().manual_seed(0)
    start = torch.zeros(8000, 2, dtype=torch.float64)
    state = kernel.init(start, generator=generator)
    trace = sample(kernel, state, steps=1, burn_in=60)
    x = trace.position[0]
    # 8000 independent chains.
    assert x.mean(0).tolist() == pytest.approx(mean.tolist(), abs=4 / math.sqrt(8000))
    assert torch.allclose(torch.cov(x.T), covariance, atol=4 * math.sqrt(2 / 8000))
    energies = trace.energy[0]
    assert float(energies.mean()) == pytest.approx(1.0, abs=4 / math.sqrt(8000))  # d / 2
    assert float(energies.var()) == pytest.approx(1.0, abs=4 * math.sqrt(8 / 8000))  # d / 2


def test_every_thinth_step_is_kept_and_the_chain_goes_on() -> None:
    target = Gaussian(torch.eye(2), torch.zeros(2))
    kernel = langevin(target)
    traces = []
    for thin in (1, 3):
        state = kernel.init(torch.ones(4, 2), generator=torch.Generator().manual_seed(0))
        traces.append(sample(kernel, state, steps=9, burn_in=2, thin=thin))
    every, third = traces
    assert every.position.shape == (9, 4, 2)
    assert torch.equal(third.position, every.position[2::3])
    assert torch.equal(third.state.position, every.position[-1])
    assert third.state.step == 11


def test_no_step_keeps_nothing() -> None:
    kernel = langevin(Gaussian(torch.eye(2), torch.zeros(2)))
    state = kernel.init(torch.ones(4, 2), generator=torch.Generator())
    assert sample(kernel, state, steps=0).position.shape == (0, 4, 2)
    with pytest.raises(ValueError, match="thin at least 1"):
        sample(kernel, state, steps=1, thin=0)


def test_zero_temperature_says_that_these_are_no_samples() -> None:
    kernel = langevin(Gaussian(torch.eye(2), torch.zeros(2)), temperature=0.0)
    state = kernel.init(torch.ones(4, 2), generator=torch.Generator())
    with pytest.warns(NotSamplesWarning, match="no samples"):
        trace = sample(kernel, state, steps=300)
    assert trace.state.energy.max() < 1e-6


def test_a_precision_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="symmetric"):
        Gaussian(torch.tensor([[1.0, 0.5], [0.0, 1.0]]), torch.zeros(2))
    with pytest.raises(ValueError, match="positive definite"):
        Gaussian(-torch.eye(2), torch.zeros(2))
