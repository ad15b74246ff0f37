"""What training changes: frozen pytrees, and how a 2x2 block of weights is parametrized.

Index order everywhere: excitatory (E) before inhibitory (I), rows are targets, columns sources.
"""

from __future__ import annotations

from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError

SIGNS = np.array([[1.0, -1.0], [1.0, -1.0]])
"""Dale's principle: excitatory columns positive, inhibitory ones negative."""


def log_weights(weights: ArrayLike) -> Array:
    """`log|J|` of signed weights `(..., 2, 2)`; `ParameterError` where a sign is wrong."""
    given = np.asarray(weights)
    if given.shape[-2:] != (2, 2):
        raise ParameterError(f"weights must be (2, 2), rows as targets, got {given.shape}")
    if not (np.isfinite(given).all() and (given * SIGNS > 0).all()):
        raise ParameterError(
            f"J_EE and J_IE must be positive, J_EI and J_II negative, got {given.tolist()}"
        )
    return jnp.asarray(np.log(np.abs(given)), jnp.result_type(float, given))


def signed_weights(log_j: Array) -> Array:
    """`J = sign exp(log|J|)`, `(2, 2)`: the inverse of `log_weights`."""
    return jnp.asarray(SIGNS, log_j.dtype) * jnp.exp(log_j)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class LayerParams:
    """One layer: `log_j (2, 2)`, `baseline (2,)`, and `kappa` (2, 2), or (2, 2, 2) as [post, pre].

    Kappas bend the weights by preferred orientation; 0 leaves them as they are.
    """

    log_j: Array
    baseline: Array
    kappa: Array

    @classmethod
    def create(
        cls, weights: ArrayLike, baseline: ArrayLike = (5.0, 5.0), kappa: ArrayLike | None = None
    ) -> LayerParams:
        """From signed weights; `kappa` is zeros (2, 2) unless given."""
        log_j = log_weights(weights)
        base = jnp.asarray(baseline, log_j.dtype)
        if base.shape != (2,):
            raise ParameterError(f"baseline must be (2,): E and I, got {base.shape}")
        bent = jnp.zeros((2, 2)) if kappa is None else jnp.asarray(kappa)
        if bent.shape not in ((2, 2), (2, 2, 2)):
            raise ParameterError(f"kappa must be (2, 2) or (2, 2, 2), got {bent.shape}")
        return cls(log_j, base, bent.astype(log_j.dtype))

    @property
    def weights(self) -> Array:
        """The signed weights `J (2, 2)`."""
        return signed_weights(self.log_j)


@jax.tree_util.register_dataclass
@dataclass(frozen=True, slots=True)
class SSNParams:
    """The two-layer model: both layers, the feedforward path and the readout.

    `log_f (2,)` and `kappa_f (2,)` are the gain onto superficial E and I cells and its dependence
    on orientation; `readout (features,)` and `bias ()` weigh the difference of two stimuli.
    """

    middle: LayerParams
    superficial: LayerParams
    log_f: Array
    kappa_f: Array
    readout: Array
    bias: Array


POPULATIONS = ("E_m", "I_m", "E_s", "I_s")
NAMES = (
    *(f"J_{block}_{layer}" for layer in "ms" for block in ("EE", "EI", "IE", "II")),
    *(f"c_{cell}" for cell in POPULATIONS),
    *("f_E", "f_I", "kappa_f_E", "kappa_f_I"),
    *(f"kappa_m_{block}" for block in ("EE", "EI", "IE", "II")),
    *(f"kappa_s_{side}_{b}" for side in ("post", "pre") for b in ("EE", "EI", "IE", "II")),
    "bias",
)
"""What `named` gives: blocks are target, then source; m is the middle, s the superficial layer."""


def named(params: SSNParams) -> dict[str, Array]:
    """All that training changes but the readout, each number by name; J signed, f not its log.

    Leading axes of the parameters, such as one for seeds, are those of the numbers.
    """
    lead = params.bias.shape
    layers = (params.middle, params.superficial)
    values = [
        *(layer.weights.reshape(*lead, 4) for layer in layers),
        *(layer.baseline for layer in layers),
        jnp.exp(params.log_f),
        params.kappa_f,
        params.middle.kappa.reshape(*lead, 4),
        params.superficial.kappa.reshape(*lead, 8),
        params.bias[..., None],
    ]
    flat = jnp.concatenate(values, -1)
    return {name: flat[..., place] for place, name in enumerate(NAMES)}
