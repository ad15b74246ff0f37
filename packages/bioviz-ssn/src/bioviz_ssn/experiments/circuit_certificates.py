"""Certificates of the small circuits: closed forms, published tables, the paradoxical effect."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.interfaces import Result

import bioviz_ssn as ssn
from bioviz_ssn.experiments.residuals import Pairs
from bioviz_ssn.steady_state import fixed_point

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
INPUTS = 200


def one_cell_error(rng: np.random.Generator, count: int) -> float:
    """Largest error of one E cell with a self-weight, over `count` weights and drives.

    For n = 2 the stable root is r = (1 - 2 k w h - sqrt(1 - 4 k w h)) / (2 k w^2); it exists
    where 4 k w h <= 1, here up to 0.99.
    """
    k, w = 0.04, rng.uniform(0.5, 5, count)
    h = rng.uniform(0, 0.99, count) / (4 * k * w)
    root = (1 - 2 * k * w * h - np.sqrt(1 - 4 * k * w * h)) / (2 * k * w**2)
    weights = np.zeros((2, 2, count))
    weights[0, 0] = w
    with jax.enable_x64(True):
        drive = jnp.asarray(np.stack([h, np.zeros(count)]))
        fp = fixed_point(Pairs(), jnp.asarray(weights), drive, throw=True)
        return float(np.abs(np.asarray(fp.r)[0] - root).max())


def two_cell_scan() -> Result:
    """The paradoxical scan of the two-cell network, from silence through stabilization."""
    with jax.enable_x64(True):
        model = ssn.TwoPopulationSSN.create()
        drives = np.repeat(np.linspace(0.2, 40, INPUTS)[:, None], 2, axis=1)
        return ssn.paradoxical_scan(model, model.params, drives)


def two_cell_error() -> float:
    """Largest distance of the two-cell rates from their table."""
    with jax.enable_x64(True):
        model = ssn.TwoPopulationSSN.create()
        drives = np.repeat(np.array(CONTRASTS)[:, None], 2, axis=1)
        rates = ssn.steady_rates(model, model.params, drives)
    return float(np.abs(rates - np.array(TWO_CELLS)).max())


def ring_peak_error(plaid: Result) -> float:
    """Largest distance from the table of the ring's peak E rates to a single grating."""
    rates = plaid.arrays["rates"][:, 0]
    return float(np.abs(rates[:, : rates.shape[1] // 2].max(1) - np.array(RING_PEAKS)).max())


def sign_agreements(scan: Result) -> int:
    """At how many inputs d r_I / d h_I has the sign of 1 - s_E W_EE."""
    slope, gain = scan.arrays["inhibitory_slope"], scan.arrays["excitatory_gain"]
    return int((np.sign(slope) == np.sign(1 - gain)).sum())
