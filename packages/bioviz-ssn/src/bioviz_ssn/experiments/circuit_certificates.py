"""Certificates of the circuit: closed forms, published tables, residuals, the paradoxical effect."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.interfaces import Claim, Part
from jax import Array

import bioviz_ssn as ssn

CERTIFICATES = (
    Claim(
        id="ssn-residual",
        sentence="Every accepted network is solved to the precision of its numbers",
        source="theory",
        metric="residual",
        rule="<=",
        bound=1e-10,
        unit="Hz",
        tags=("certificate",),
        also=(
            Part("float32_residual_over_bound", "<=", 1.0),
            Part("unconverged", "exact", 0),
            Part("slow_mode_residual", "<=", 1e-10, "Hz"),
        ),
    ),
    Claim(
        id="ssn-closed-forms",
        sentence="One cell, two cells and the ring have their known steady rates",
        source="theory; Rubin 2015",
        metric="closed_form_error",
        rule="<=",
        bound=5e-6,
        unit="Hz",
        tags=("certificate",),
    ),
    Claim(
        id="paradoxical-flip",
        sentence="Driving the I cell lowers its rate exactly where E alone would run away",
        source="theory",
        metric="sign_agreements",
        rule="share",
        bound="200/200",
        tags=("certificate",),
    ),
    Claim(
        id="supra-to-sublinear",
        sentence="Summation of a plaid passes from supralinear to sublinear with contrast",
        source="Rubin 2015",
        metric="plaid_weight_error",
        rule="<=",
        bound=1e-3,
        tags=("certificate",),
        also=(
            Part("feedforward_weight_error", "<=", 1e-3),
            Part("feedforward_table_error", ">", 1e-3),
        ),
    ),
)
"""`feedforward_*` is the wrong variant that must fail: without recurrence the weight stays at
1.125, far from the table."""

CONTRASTS = (2.0, 5.0, 10.0, 20.0, 40.0)
TWO_CELLS = (
    (0.177119, 0.180191),
    (1.322784, 1.389019),
    (7.817065, 8.910498),
    (39.481305, 58.360855),
    (65.360110, 125.042058),
)
RING_PEAKS = (0.188842, 1.663696, 11.737549, 24.042246, 35.126645)
PLAID_WEIGHTS = (1.211, 1.538, 0.868, 0.695, 0.682)
FEEDFORWARD = 1.125

DRAWS = 10_000
ROWS = 8
SLOW = 0.01
"""Per ms: the decay below which a mode counts as slow, a hundredth of a millisecond's."""

LOW, HIGH = np.array([4.0, 1.2, 4.6, 0.8]), np.array([4.8, 2.0, 5.4, 1.6])
"""Ranges of |J_EE|, |J_EI|, |J_IE|, |J_II| before training, in both layers."""


@dataclass(frozen=True)
class Pairs:
    """E-I pairs with weights of their own, `(2, 2, pairs)`: many draws solved at once."""

    tau: Array
    law: ssn.PowerLaw = ssn.PowerLaw()

    def system(self, params: Array, drive: Array, /) -> ssn.System:
        """The equations for `drive (..., 2, pairs)`, all of h."""
        return ssn.System(params, drive, self.tau.astype(params.dtype), self.law, axis=-2)


@dataclass(frozen=True)
class Draws:
    """Accepted parameters: `weights (draws, 2, 2)` by layer, `baseline`, `f`, `gains (draws, 2)`."""

    middle: np.ndarray
    superficial: np.ndarray
    baseline: np.ndarray
    f: np.ndarray
    gains: np.ndarray


def accepted(rng: np.random.Generator, count: int) -> Draws:
    """Parameters from the ranges before training that obey both inequalities of the middle layer.

    1.1 |J_EE J_II| < |J_EI J_IE|, without which a network has no stable state at strong drive, and
    1.1 |J_EI| g_I < |J_II| g_E.
    """
    kept: list[np.ndarray] = []
    while sum(map(len, kept)) < count:
        u = rng.random((2 * count, 14))
        j, g = LOW + (HIGH - LOW) * u[:, :4], 0.15 + 0.3 * u[:, 12:]
        ee, ei, ie, ii = j.T
        kept.append(u[(1.1 * ee * ii < ei * ie) & (1.1 * ei * g[:, 1] < ii * g[:, 0])])
    u = np.concatenate(kept)[:count]
    signs = np.array([1, -1, 1, -1])
    middle, superficial = (
        (signs * (LOW + (HIGH - LOW) * part)).reshape(-1, 2, 2) for part in (u[:, :4], u[:, 4:8])
    )
    return Draws(
        middle, superficial, 4.5 + u[:, 8:10], 0.6 + 0.6 * u[:, 10:12], 0.15 + 0.3 * u[:, 12:]
    )


@dataclass(frozen=True, slots=True)
class Solved:
    """How well one set of systems was solved; `worst` is the largest residual over its bound."""

    name: str
    systems: int
    unconverged: int
    residual: float
    slowest: float
    float32: float
