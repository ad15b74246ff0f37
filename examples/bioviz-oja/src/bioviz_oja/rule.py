"""Oja's rule: what one synapse does."""

from __future__ import annotations

from typing import Any


class Oja:
    """Oja's subspace rule, `dW = <y x^T> - <y y^T> W`, the mean over the batch.

    Rows of `W` converge to an orthonormal basis of the inputs' leading principal components where
    `y = W x`; a single cell finds the first one (Oja 1982, equation 3; several cells: Oja 1989).
    With `independent=True` each cell decays by its own activity alone, `dw = <y x> - <y^2> w`.

    `pre` is `x (batch, in)`, `post` is `y (batch, out)`, `weight` is `W (out, in)`. Array-API code:
    it trains NumPy, torch and JAX models.
    """

    def __init__(self, *, independent: bool = False) -> None:
        self.independent = independent

    def delta(self, pre: Any, post: Any, weight: Any, teach: Any = None) -> Any:
        """The change of the weight."""
        if self.independent:
            decay = (post * post).mean(0)[:, None] * weight
        else:
            decay = post.T @ post / len(post) @ weight
        return post.T @ pre / len(pre) - decay
