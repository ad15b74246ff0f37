"""Laws without sampling error, against closed forms and against sampling."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from bioviz_nrf import Gaussian, langevin
from bioviz_nrf.sampling.stationary_law import obabo_second_moment, stationary_covariance
from bioviz_nrf.sampling.targets import Quartic

WELL = Gaussian(torch.eye(1, dtype=torch.float64), torch.zeros(1, dtype=torch.float64))


def test_covariance_is_that_of_many_chains() -> None:
    target = Gaussian(
        torch.tensor([[2.0, -1.2], [-1.2, 1.5]], dtype=torch.float64),
        torch.zeros(2, dtype=torch.float64),
    )
    kernel = langevin(target, step_size=0.7, scheme="sghmc", temperature=2.0)
    generator = torch.Generator().manual_seed(0)
    state = kernel.init(torch.zeros(40_000, 2, dtype=torch.float64), generator=generator)
    for _ in range(60):
        state, _ = kernel.step(state)
    found = np.cov(torch.cat([state.position, state.momentum], 1).T)
    expected = stationary_covariance(kernel, dim=2)
    # A variance of 40,000 chains has the relative standard error sqrt(2) / 200.
    sizes = np.sqrt(np.outer(np.diag(expected), np.diag(expected)))
    assert (np.abs(found - expected) / sizes).max() < 4 * np.sqrt(2) / 200


def test_positions_and_momenta_of_baoab_are_uncorrelated_and_right() -> None:
    law = stationary_covariance(langevin(WELL, step_size=0.5), dim=1)
    # The momentum's variance is 1 - h^2 / 4, since a position's share is traded for it.
    np.testing.assert_allclose(law, [[1, 0], [0, 1 - 0.5**2 / 4]], atol=1e-12)


def test_a_step_too_long_for_any_law_is_refused() -> None:
    with pytest.raises(ValueError, match="no law is reached"):
        stationary_covariance(langevin(WELL, step_size=2.5), dim=1)


@pytest.mark.parametrize("friction", [0.5, 4.0])
def test_the_spectral_moment_in_a_well_is_the_closed_form(friction: float) -> None:
    kernel = langevin(WELL, step_size=0.3, friction=friction, scheme="obabo")
    found = obabo_second_moment(kernel, reach=9.0, degree=12)
    assert found == pytest.approx(1 / (1 - 0.3**2 / 4), abs=1e-9)


def test_the_spectral_moment_of_a_quartic_law_is_that_of_many_chains() -> None:
    kernel = langevin(Quartic(), step_size=0.3, scheme="obabo")
    generator = torch.Generator().manual_seed(0)
    state = kernel.init(torch.zeros(20_000, 1, dtype=torch.float64), generator=generator)
    moments = []
    for _ in range(130):
        state, _ = kernel.step(state)
        moments.append(float(state.position.square().mean()))
    # About one independent sample per unit of time and chain: relative standard error 0.0015.
    expected = obabo_second_moment(kernel)
    assert np.mean(moments[30:]) == pytest.approx(expected, rel=4 * 0.0015)
    assert expected > 1.03 * Quartic().moment(2)


def test_obabo_is_biased_in_the_second_order_on_a_law_that_is_no_gaussian() -> None:
    truth, steps = Quartic().moment(2), (0.05, 0.1, 0.2)
    errors = [
        obabo_second_moment(langevin(Quartic(), step_size=h, scheme="obabo")) / truth - 1
        for h in steps
    ]
    for first, second in pairwise(errors):
        assert np.log2(second / first) == pytest.approx(2, abs=0.05)
    with pytest.raises(ValueError, match="needs obabo at temperature 1"):
        obabo_second_moment(replace(langevin(Quartic(), scheme="obabo"), temperature=2.0))


def test_the_quartic_target_is_its_formula() -> None:
    x = torch.tensor([[0.5], [-2.0]], dtype=torch.float64)
    energy, slope = Quartic()(x)
    np.testing.assert_allclose(energy, x[:, 0] ** 4 / 4 + x[:, 0] ** 2 / 2)
    np.testing.assert_allclose(slope, x**3 + x)
    # Integration by parts: E[x E'(x)] = 1, the virial theorem.
    assert Quartic().moment(4) + Quartic().moment(2) == pytest.approx(1)
