"""Linear systems near the identity, one per row, all at once: the full orthogonalization method.

For `(I - K) x = b` the space of `b, K b, K^2 b, ...` is spanned by vectors of length 1, orthogonal
to each other (Arnoldi); on it `K` is a small matrix `H`, and `x` is what solves `I - H`. A few
directions of a row may be anything, as long as the others are damped.
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

DIRECTIONS = 10


def solve(apply: Callable[[Array], Array], right: Array) -> tuple[Array, Array]:
    """About `x - apply(x) = right`, `(rows, n)` all; and which `I - H` have a positive determinant.

    `apply` is linear, row by row. The sign is that of `I - K` where an outlying mode is seen in
    `right`. Rows whose `I - H` is singular are not finite.
    """
    rows, n = right.shape
    count = min(DIRECTIONS, n)
    tiny, eps = np.finfo(right.dtype).tiny, np.finfo(right.dtype).eps
    size = jnp.linalg.norm(right, axis=-1)
    basis = jnp.zeros((rows, count + 1, n), right.dtype)
    basis = basis.at[:, 0].set(right / jnp.maximum(size, tiny)[:, None])

    def extend(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        basis, small = state
        new = apply(basis[:, j])
        shares = jnp.zeros((rows, count + 1), new.dtype)
        # Twice is enough for orthogonality within rounding.
        for _ in range(2):
            more = jnp.einsum("bkn,bn->bk", basis, new)
            new -= jnp.einsum("bk,bkn->bn", more, basis)
            shares += more
        left = jnp.linalg.norm(new, axis=-1)
        # What is left of rounding is no direction.
        left = jnp.where(left > 10 * eps * jnp.linalg.norm(shares, axis=-1), left, 0)
        new = jnp.where(left > 0, 1 / jnp.maximum(left, tiny), 0)[:, None] * new
        return basis.at[:, j + 1].set(new), small.at[j].set(shares.at[:, j + 1].set(left).T)

    # Columns first, rows of the batch last, so that elimination works on whole arrays.
    small = jnp.zeros((count, count + 1, rows), right.dtype)
    basis, small = jax.lax.fori_loop(0, count, extend, (basis, small))
    matrix = jnp.eye(count, dtype=right.dtype)[:, :, None] - jnp.swapaxes(small[:, :count], 0, 1)
    x = jnp.zeros((count, rows), right.dtype).at[0].set(size)

    # `H` has one diagonal below the main one.
    def eliminate(j: Array, state: tuple[Array, Array]) -> tuple[Array, Array]:
        matrix, x = state
        factor = matrix[j + 1, j] / matrix[j, j]
        return matrix.at[j + 1].add(-factor * matrix[j]), x.at[j + 1].add(-factor * x[j])

    def substitute(k: Array, x: Array) -> Array:
        j = count - 1 - k
        known = jnp.sum(jnp.where(jnp.arange(count)[:, None] > j, matrix[j] * x, 0), axis=0)
        return x.at[j].set((x[j] - known) / matrix[j, j])

    matrix, x = jax.lax.fori_loop(0, count - 1, eliminate, (matrix, x))
    is_positive = jnp.prod(jnp.sign(jnp.diagonal(matrix)), axis=-1) > 0
    x = jax.lax.fori_loop(0, count, substitute, x)
    return jnp.einsum("kb,bkn->bn", x, basis[:, :count]), is_positive
