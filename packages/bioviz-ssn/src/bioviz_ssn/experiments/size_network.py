"""A line of E and I cells across the visual field, for size tuning."""

from __future__ import annotations

import numpy as np

import bioviz_ssn as ssn

POINTS = 81
HALF_WIDTH = 4.0
WEIGHTS = ((1.0, -1.0), (1.25, -0.75))
REACH = ((0.4, 0.1), (0.8, 0.1))
"""Degrees, [[E from E, E from I], [I from E, I from I]]: E cells reach I cells furthest."""
SIZES = (0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0, 2.5, 3.0, 3.5, 4.0, 4.5, 5.0, 5.5, 6.0)
EDGE = 0.1


def line_network() -> ssn.Network:
    """81 E and 81 I cells over eight degrees, weights `J_ab exp(-d^2 / (2 reach_ab^2))`.

    Each block is divided by the sum of the middle row, so that J is what a cell gets in all.
    """
    x = positions()
    distance = np.abs(x[:, None] - x)
    blocks = []
    for a in range(2):
        row = []
        for b in range(2):
            w = np.exp(-(distance**2) / (2 * REACH[a][b] ** 2))
            row.append(WEIGHTS[a][b] * w / w[POINTS // 2].sum())
        blocks.append(row)
    return ssn.Network.create(np.block(blocks), tau=np.repeat([20.0, 10.0], POINTS))


def positions() -> np.ndarray:
    """Where the cells sit, in degrees."""
    return np.linspace(-HALF_WIDTH, HALF_WIDTH, POINTS)


def patches(contrast: float) -> np.ndarray:
    """Drives of centred patches of all sizes, with soft edges: `(sizes, cells)`."""
    beyond = np.abs(positions()) - np.array(SIZES)[:, None] / 2
    profile = contrast / (1 + np.exp(beyond / EDGE))
    return np.concatenate([profile, profile], axis=1)


def centre() -> tuple[int, int]:
    """Indices of the E and the I cell at the centre."""
    return POINTS // 2, POINTS + POINTS // 2
