"""Batched Krylov solves against dense linear algebra."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_ssn.solvers import krylov
from hypothesis import given, settings
from hypothesis import strategies as st

ROWS = 5


def systems(seed: int, n: int, outliers: list[float]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """K per row, with these eigenvalues and others below 0.05, and right-hand sides."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((ROWS, n, n)))[0]
    skew = np.eye(n) + 0.2 * np.triu(rng.standard_normal((ROWS, n, n)), 1) / np.sqrt(n)
    values = rng.uniform(-0.05, 0.05, (ROWS, n))
    values[:, : len(outliers)] = outliers
    vectors = basis @ skew
    k = (vectors * values[:, None, :]) @ np.linalg.inv(vectors)
    return k, rng.standard_normal((ROWS, n)), np.linalg.slogdet(np.eye(n) - k)[0]


def solved(k: np.ndarray, right: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    with jax.enable_x64(True):
        matrix = jnp.asarray(k)
        found = krylov.solve(lambda v: jnp.einsum("bij,bj->bi", matrix, v), jnp.asarray(right))
        return np.asarray(found[0]), np.asarray(found[1])


@settings(max_examples=25, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    outliers=st.lists(
        st.floats(-4, 0.8) | st.floats(1.3, 4), max_size=3, unique_by=lambda x: round(x, 1)
    ),
)
def test_a_few_outlying_modes_do_no_harm_and_show_their_sign(
    seed: int, outliers: list[float]
) -> None:
    k, right, sign = systems(seed, 40, outliers)
    x, positive = solved(k, right)
    exact = np.linalg.solve(np.eye(40) - k, right[..., None])[..., 0]
    np.testing.assert_allclose(x, exact, atol=1e-3 * np.abs(exact).max())
    np.testing.assert_array_equal(positive, sign > 0)


def test_as_many_directions_as_unknowns_are_exact() -> None:
    k, right, sign = systems(1, krylov.DIRECTIONS, [2.5, -3.0])
    x, positive = solved(k, right)
    np.testing.assert_allclose(x - np.einsum("bij,bj->bi", k, x), right, atol=1e-10)
    np.testing.assert_array_equal(positive, sign > 0)


def test_a_row_of_zeros_is_zero_and_a_singular_one_leaves_its_mates_alone() -> None:
    k, right, _ = systems(2, 20, [0.5])
    alone, _ = solved(k[2:], right[2:])
    k[1] = np.eye(20)
    right[0] = 0
    x, positive = solved(k, right)
    assert (x[0] == 0).all()
    assert positive[0]
    assert not np.isfinite(x[1]).all()
    np.testing.assert_allclose(x[2:], alone, rtol=1e-12)
