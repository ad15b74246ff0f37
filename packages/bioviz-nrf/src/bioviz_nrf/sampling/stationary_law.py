"""The law that a kernel settles in, from its own steps and without sampling error."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.polynomial import hermite_e, legendre
from scipy.linalg import solve_discrete_lyapunov
from scipy.special import factorial
from torch import Tensor

from bioviz_nrf.sampling.kernels import Langevin, normal

MOST_DRAWS = 2
"""Noise vectors that a step draws at most."""


def stationary_covariance(kernel: Langevin, *, dim: int) -> np.ndarray:
    """Covariance `(2 dim, 2 dim)` of `(x, p)` for a kernel on a quadratic energy about 0.

    A step is `z' = A z + G xi`. `A` is read off steps from unit vectors at temperature 0, `G` by
    least squares off steps from the origin, whose noise a generator in the same state draws again.
    The covariance solves the Lyapunov equation `S = A S A' + G G'`. `sgld` has no momentum: for it
    the answer is `(dim, dim)`. Raises where the step is so long that no law is reached.
    """
    moves = _step(replace(kernel, temperature=0.0), torch.eye(2 * dim, dtype=torch.float64)).T
    origin = torch.zeros(8 * dim, 2 * dim, dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    noise = torch.cat([normal(origin[:, :dim], generator) for _ in range(MOST_DRAWS)], 1)
    spread = np.linalg.lstsq(noise.numpy(), _step(kernel, origin, seed=0), rcond=None)[0].T
    if kernel.scheme == "sgld":
        moves, spread = moves[:dim, :dim], spread[:dim]
    if (largest := np.abs(np.linalg.eigvals(moves)).max()) >= 1:
        raise ValueError(f"no law is reached: a step multiplies by {largest:.3g}. Lower step_size")
    return np.asarray(solve_discrete_lyapunov(moves, spread @ spread.T))


def obabo_second_moment(kernel: Langevin, *, reach: float = 4.2, degree: int = 16) -> float:
    """`E[x^2]` for an `obabo` kernel of unit mass and temperature on any energy of one coordinate.

    The step `O^(1/2) (B A B) O^(1/2)` is projected on polynomials up to `degree` in x and in p that
    are orthonormal under the Boltzmann law. There a refresh is diagonal, `exp(-k gamma h / 2)` on
    Hermite's k-th, and the deterministic part is the kernel's own step without friction. The
    moment is read off the left eigenvector of eigenvalue 1. `reach` is where the law has ended.
    """
    if kernel.scheme != "obabo" or kernel.temperature != 1.0:
        raise ValueError(
            f"needs obabo at temperature 1, got {kernel.scheme} at {kernel.temperature}"
        )
    x, weights = legendre.leggauss(8 * degree)
    energies, _ = kernel.energy_and_grad(torch.from_numpy(reach * x)[:, None])
    weights = weights * np.exp(-energies.numpy())
    p, normal_weights = hermite_e.hermegauss(4 * degree)
    law = np.outer(weights / weights.sum(), normal_weights / normal_weights.sum()).ravel()
    places = np.stack([np.repeat(reach * x, len(p)), np.tile(p, len(x))], axis=1)
    # Legendre's polynomials, made orthonormal under the law of x.
    plain = legendre.legvander(x, degree)
    mix = np.linalg.inv(np.linalg.qr(np.sqrt(weights / weights.sum())[:, None] * plain)[1])
    sizes = np.sqrt(factorial(np.arange(degree + 1)))

    def basis(z: np.ndarray) -> np.ndarray:
        in_x = legendre.legvander(z[:, 0] / reach, degree) @ mix
        in_p = hermite_e.hermevander(z[:, 1], degree) / sizes
        return np.asarray(in_x[:, :, None] * in_p[:, None, :]).reshape(len(z), -1)

    here, there = basis(places), basis(_step(replace(kernel, friction=0.0), places))
    kept = np.exp(-kernel.friction * kernel.step_size / 2 * np.arange(degree + 1))
    refresh = np.tile(kept, degree + 1)
    step = refresh[:, None] * (here.T @ (law[:, None] * there)) * refresh
    # The constant is the first function, and its own image: l (step - 1) = 0 leaves the others.
    change = (step - np.eye(len(step)))[:, 1:].T
    others = np.linalg.solve(change[:, 1:], -change[:, 0])
    moments = here.T @ (law * places[:, 0] ** 2)
    return float(moments @ np.concatenate([[1.0], others]) * here[0, 0])


def _step(kernel: Langevin, states: Any, *, seed: int = 0) -> np.ndarray:
    """One step from `(x, p)` in rows, `(chains, 2 dim)`."""
    x, p = torch.as_tensor(states, dtype=torch.float64).chunk(2, dim=1)
    generator = torch.Generator().manual_seed(seed)
    after, _ = kernel.step(kernel.init(x, momentum=p, generator=generator))
    moved: Tensor = torch.cat([after.position, after.momentum], dim=1)
    return moved.numpy()
