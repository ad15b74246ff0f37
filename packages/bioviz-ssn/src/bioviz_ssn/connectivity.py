"""Weights of the two layers of the V1 model, as functions of `log|J|` and the kappas."""

from __future__ import annotations

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.geometry import ring_distance
from bioviz_ssn.parameters import signed_weights

TRAINED = 55.0
"""Degrees: the orientation that is trained, and around which kappas bend the weights."""
SCALE = 2 * 90.0**2
CUT = 1e-4
WIDTHS = ((0.2, 0.09), (0.4, 0.09))
"""Millimetres, [[E from E, E from I], [I from E, I from I]]."""


def tuning(kappa: Array, distance: Array, *, sign: float = 1.0) -> Array:
    """`exp(sign tanh(kappa) d^2 / (2 90^2))`, of shape kappa's then distance's."""
    bent = jnp.tanh(kappa)[(..., *[None] * distance.ndim)]
    return jnp.exp(sign * bent * distance**2 / SCALE)


def middle_weights(log_j: Array, kappa: Array, distance: Array) -> Array:
    """`W_ab(x) = J_ab w_ab(x) / mean_x w_ab(x)`, `(2, 2, points)`.

    w is `tuning` at the ring distance of a point's preference from the trained orientation; weights
    below 1e-4 are dropped. A positive kappa strengthens what prefers other orientations.
    """
    w = tuning(kappa, distance)
    w = jnp.where(w < CUT, 0, w)
    return signed_weights(log_j)[..., None] * w / jnp.mean(w, axis=-1, keepdims=True)


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class HorizontalKernel:
    """What the superficial weights depend on and training does not change.

    `reach (2, 2, points, points)` is the weight by distance and by difference of preferences,
    target type by source type by target by source; `to_trained (points,)` the ring distance in
    degrees of a point's preference from the trained orientation. `p_local` is the share of each E
    source's weight, onto E and onto I cells, that stays within its point.
    """

    reach: Array
    to_trained: Array
    p_local: tuple[float, float] = field(default=(0.4, 0.7), metadata={"static": True})

    @classmethod
    def create(
        cls,
        distance: np.ndarray,
        orientations: np.ndarray,
        *,
        p_local: tuple[float, float] = (0.4, 0.7),
        trained: float = TRAINED,
    ) -> HorizontalKernel:
        """From distances in mm and preferred orientations in degrees.

        An E source reaches as `exp(-D / s)`, an I source as `exp(-D^2 / (2 s^2))`.
        """
        if len(p_local) != 2 or not all(0 <= p <= 1 for p in p_local):
            raise ParameterError(f"p_local must be two numbers from 0 to 1, got {p_local}")
        o = np.asarray(orientations)
        alike = ring_distance(o[:, None] - o) ** 2 / SCALE
        far = distance / np.asarray(WIDTHS)[..., None, None]
        reach = np.exp(-np.stack([far[:, 0], far[:, 1] ** 2 / 2], 1) - alike)
        to_trained = ring_distance(o - trained)
        return cls(jnp.asarray(reach), jnp.asarray(to_trained), (p_local[0], p_local[1]))

    def weights(self, log_j: Array, kappa: Array) -> Array:
        """The superficial weights `(2 points, 2 points)`, E before I.

        `kappa (2, 2, 2)` is [of the target, of the source] by block; the published code calls the
        first "pre". A positive one weakens weights far from the trained orientation, the opposite
        of the middle layer.
        """
        points = len(self.to_trained)
        post, pre = tuning(kappa, self.to_trained, sign=-1.0)
        w = self.reach * post[..., :, None] * pre[..., None, :]
        w = jnp.where(w < CUT, 0, w)
        w = w / jnp.mean(jnp.sum(w, axis=-1), axis=-1)[..., None, None]
        local = jnp.array([[p, 0.0] for p in self.p_local], w.dtype)[..., None, None]
        w = local * jnp.eye(points, dtype=w.dtype) + (1 - local) * w
        w = signed_weights(log_j)[..., None, None] * w
        return jnp.swapaxes(w, 1, 2).reshape(2 * points, 2 * points)
