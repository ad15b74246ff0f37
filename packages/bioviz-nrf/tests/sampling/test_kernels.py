"""Kernels against the closed forms of their laws."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from bioviz_nrf import (
    Clamp,
    DivergenceError,
    Gaussian,
    Mass,
    ShapeError,
    from_energy,
    langevin,
    sample,
)
from bioviz_nrf.sampling.stationary_law import stationary_covariance
from torch import Tensor

SCHEMES = ("baoab", "obabo", "sghmc", "sgld")


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def harmonic(position: Tensor) -> tuple[Tensor, Tensor]:
    """Unit curvature: `x^2 / 2`."""
    return position.square().sum(-1) / 2, position


# The stationary law (certificate stationary-law)


@pytest.mark.parametrize("step_size", [0.1, 0.4, 0.8])
@pytest.mark.parametrize(
    ("scheme", "variance", "published"),
    [
        ("baoab", lambda h: 1.0, (1.0, 1.0, 1.0)),
        ("obabo", lambda h: 1 / (1 - h**2 / 4), (1.0025, 1.0417, 1.1905)),
        ("sghmc", lambda h: 1 / (1 - h**2 / (4 - 2 * h)), (1.0026, 1.0526, 1.3636)),
        ("sgld", lambda h: 1 / (1 - h / 2), None),
    ],
)
def test_variance_in_a_harmonic_well_is_the_closed_form(
    scheme: Any,
    variance: Callable[[float], float],
    published: tuple[float, ...] | None,
    step_size: float,
) -> None:
    kernel = langevin(harmonic, step_size=step_size, scheme=scheme)
    found = stationary_covariance(kernel, dim=1)[0, 0]
    assert found == pytest.approx(variance(step_size), abs=1e-6)
    if published:
        assert found == pytest.approx(published[(0.1, 0.4, 0.8).index(step_size)], abs=5e-5)


@pytest.mark.parametrize("temperature", [0.25, 1.0, 4.0])
@pytest.mark.parametrize("friction", [0.1, 1.0, 5.0])
def test_baoab_keeps_the_law_of_any_gaussian_exactly(temperature: float, friction: float) -> None:
    precision = torch.tensor([[2.0, -1.2], [-1.2, 1.5]], dtype=torch.float64)
    target = Gaussian(precision, torch.zeros(2, dtype=torch.float64))
    mass = Mass.diagonal([torch.tensor([0.7, 3.0], dtype=torch.float64)])
    kernel = langevin(target, step_size=0.6, temperature=temperature, friction=friction, mass=mass)
    law = stationary_covariance(kernel, dim=2)
    assert np.abs(law[:2, :2] - temperature * target.covariance.numpy()).max() < 1e-6


# Reversal, noise, clamping


@pytest.mark.parametrize("scheme", ["baoab", "obabo"])
def test_without_friction_the_flow_runs_backwards(scheme: str) -> None:
    energy = from_energy(lambda x: (x.square() / 2 + x**4 / 4).sum(-1))
    kernel = langevin(energy, step_size=0.1, friction=0.0, scheme=scheme)  # type: ignore[arg-type]
    start = torch.randn(5, 3, dtype=torch.float64, generator=generator())
    state = first = kernel.init(start, generator=generator())
    for _ in range(50):
        state, _ = kernel.step(state)
    state = kernel.init(state.position, momentum=-state.momentum, generator=generator())
    for _ in range(50):
        state, _ = kernel.step(state)
    assert torch.allclose(state.position, start, atol=1e-10)
    assert torch.allclose(-state.momentum, first.momentum, atol=1e-10)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_same_generator_same_chain(scheme: str) -> None:
    ends = []
    for _ in range(2):
        kernel = langevin(harmonic, scheme=scheme)  # type: ignore[arg-type]
        state = kernel.init(torch.ones(4, 2), generator=generator(3))
        for _ in range(7):
            state, _ = kernel.step(state)
        ends.append(state.position)
    assert torch.equal(*ends)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_step_leaves_the_state_it_was_given(scheme: str) -> None:
    kernel = langevin(harmonic, scheme=scheme)  # type: ignore[arg-type]
    state = kernel.init(torch.ones(4, 2), generator=generator())
    before = [t.clone() for t in (state.position, state.momentum, state.grad, state.energy)]
    after, _ = kernel.step(state)
    now = (state.position, state.momentum, state.grad, state.energy)
    assert all(torch.equal(a, b) for a, b in zip(before, now, strict=True))
    assert not torch.equal(after.position, state.position)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_a_clamped_tensor_keeps_its_bits_and_the_rest_its_conditional_law(scheme: str) -> None:
    energy = from_energy(lambda s: (s["a"].square() + (s["b"] - s["a"]).square()).sum(-1) / 2)
    kernel = langevin(energy, step_size=0.2, scheme=scheme, clamp=Clamp(("a",)))  # type: ignore[arg-type]
    held = torch.randn(4000, 1, dtype=torch.float64, generator=generator(1))
    state = kernel.init({"a": held, "b": torch.zeros_like(held)}, generator=generator(2))
    for _ in range(80):
        state, _ = kernel.step(state)
    assert torch.equal(state.position["a"], held)
    assert (state.momentum["a"] == 0).all()
    away = state.position["b"] - held
    # 4000 independent chains: standard error .016 of the mean; sgld's variance is 1 / (1 - h / 2).
    assert abs(float(away.mean())) < 4 * 0.016
    expected = {"sgld": 1 / 0.9, "obabo": 1 / 0.99, "sghmc": 1 / (1 - 0.04 / 3.6)}.get(scheme, 1.0)
    assert float(away.var()) == pytest.approx(expected, abs=4 * math.sqrt(2 / 4000) * expected)


def test_kinetic_temperature_is_the_temperature() -> None:
    kernel = langevin(harmonic, step_size=0.1, temperature=2.5)
    settled = math.sqrt(2.5) * torch.randn(20_000, 1, dtype=torch.float64, generator=generator(1))
    state = kernel.init(settled, generator=generator())
    for _ in range(20):
        state, info = kernel.step(state)
    # 20 000 squares of a normal: relative standard error .01; the scheme's bias is of order h^2.
    assert float(info.kinetic_temperature) == pytest.approx(2.5, rel=0.045)


# Bad input


def test_a_chain_that_leaves_the_numbers_is_named() -> None:
    kernel = langevin(from_energy(lambda x: (x**4).sum(-1)), step_size=0.5)
    start = torch.tensor([[0.1], [50.0], [0.2]], dtype=torch.float64)
    state = kernel.init(start, generator=generator())
    with pytest.raises(DivergenceError, match="1 chains") as caught:
        sample(kernel, state, steps=50)
    assert caught.value.chains == (1,)
    loose = langevin(kernel.energy_and_grad, step_size=0.5, on_divergence="ignore")
    state = loose.init(start, generator=generator())
    info = sample(loose, state, steps=50).info
    assert info.diverged.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"step_size": 0.0}, "step_size must be positive"),
        ({"step_size": math.nan}, "step_size must be positive"),
        ({"friction": -1.0}, "friction must be at least 0"),
        ({"temperature": -1.0}, "temperature must be at least 0"),
        ({"scheme": "euler"}, "scheme must be one of"),
        ({"scheme": "sghmc", "friction": 20.0}, "below 2 for sghmc"),
        ({"mass": Mass.diagonal([torch.ones(3)])}, "one chain has"),
        ({"clamp": Clamp(("image",))}, "cannot clamp"),
    ],
)
def test_bad_settings_are_refused_with_the_bound(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        langevin(harmonic, **options).init(torch.zeros(2, 1), generator=generator())  # type: ignore[arg-type]


def test_bad_positions_are_refused_before_any_step() -> None:
    kernel = langevin(harmonic)
    with pytest.raises(ShapeError, match="same number of chains"):
        kernel.init((torch.zeros(2, 1), torch.zeros(3, 1)), generator=generator())
    with pytest.raises(ShapeError, match="shapes of the position"):
        kernel.init(torch.zeros(2, 1), momentum=torch.zeros(2, 2), generator=generator())
    with pytest.raises(ValueError, match="positive and finite"):
        Mass.scalar(0.0)
