"""Linear systems by LU, safe to run side by side.

Where two batched LU factorizations of one program run at the same time, XLA's CPU threads can wait
for each other for ever. So under vmap the matrices are factorized one after the other, which on a
CPU takes as long.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import sequential_vmap


@sequential_vmap  # type: ignore[untyped-decorator]  # JAX's own
def _factorize(matrix: Array) -> tuple[Array, Array, Array]:
    lu, pivots, order = jax.lax.linalg.lu(matrix)
    swaps = jnp.sum(pivots != jnp.arange(len(pivots)))
    negative = jnp.sum(jnp.diagonal(lu) < 0)
    return lu, order, (swaps + negative) % 2 == 0


def solve(matrix: Array, right: Array) -> tuple[Array, Array]:
    """`matrix^-1 right` for `right (n, m)`, and whether the determinant is positive."""
    lu, order, is_positive = _factorize(matrix)
    x = jax.lax.linalg.triangular_solve(
        lu, right[order], left_side=True, lower=True, unit_diagonal=True
    )
    return jax.lax.linalg.triangular_solve(lu, x, left_side=True, lower=False), is_positive
