"""The two-layer V1 model that learns to tell orientations apart."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.interfaces import Batch, Framework, Objective
from jax import Array
from numpy.typing import ArrayLike

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.gabor import GaborBank
from bioviz_ssn.geometry import GridSpec, orientation_map
from bioviz_ssn.models.network import refilled
from bioviz_ssn.models.v1_layers import GRID, MiddleLayer, SuperficialLayer
from bioviz_ssn.parameters import LayerParams, SSNParams
from bioviz_ssn.steady_state import FixedPoint, fixed_point

NOISE = 1 / np.sqrt(125 * 0.2)
"""Standard deviation of the readout's noise at softplus(r) = 1 Hz: 125 cells, 0.2 s."""
GUESSING = 0.02
"""Share of the answers that are guesses, which keeps the cross-entropy finite."""
MIDDLE = ((4.4, -1.66), (5.0, -1.24))
SUPERFICIAL = ((4.3, -1.5), (5.0, -1.2))
FEEDFORWARD = (0.9, 0.8)
GAINS = (0.35, 0.2)
READOUT = 0.25 / 9
"""Standard deviation of the readout weights before training."""


class TwoLayerFixedPoint(NamedTuple):
    """The steady states of both layers."""

    middle: FixedPoint
    superficial: FixedPoint

    @property
    def n_unconverged(self) -> Array:
        """How many systems, pairs and networks, did not converge."""
        return self.middle.n_unconverged + self.superficial.n_unconverged


def probability(z: Array) -> Array:
    """`0.98 sigmoid(z) + 0.01`, the probability that the first stimulus is the larger one."""
    return (1 - GUESSING) * jax.nn.sigmoid(z) + GUESSING / 2


def cross_entropy(z: Array, labels: Array) -> Array:
    """Mean binary cross-entropy of the answers `z` to `labels`, 1 or 0."""
    p, y = probability(z), jnp.asarray(labels, z.dtype)
    return -jnp.mean(y * jnp.log(p) + (1 - y) * jnp.log(1 - p))


def _answers(z: Array, batch: Batch) -> Array:
    return cross_entropy(z, jnp.asarray(batch["labels"]))


DISCRIMINATION = Objective("cross-entropy of the answers", _answers, ("labels",))


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class TwoLayerSSN:
    """Gabor filters, a middle layer of E-I pairs, a superficial network, and a linear readout.

    Drives are `(..., phases, 2, points)`, middle rates likewise, superficial rates
    `(..., 2 points)`; E before I. A pair of stimuli is stacked on the axis before these, the
    reference first. The readout sees the E rates of the central `readout_side` squared points:
    superficial ones times `readout_mix[0]`, middle ones times `readout_mix[1]`; a share of 0
    leaves a layer out, and with both the middle one comes first. `bank` may be None where only
    drives are used; neither it nor the layers are trained.
    """

    params: SSNParams
    middle: MiddleLayer
    superficial: SuperficialLayer
    bank: GaborBank | None = None
    grid: GridSpec = field(default=GRID, metadata={"static": True})
    readout_side: int = field(default=5, metadata={"static": True})
    readout_mix: tuple[float, float] = field(default=(1.0, 0.0), metadata={"static": True})
    objective: Objective | None = field(default=DISCRIMINATION, metadata={"static": True})
    framework: ClassVar[Framework] = "jax"

    @classmethod
    def create(
        cls,
        params: SSNParams,
        orientations: ArrayLike,
        *,
        bank: GaborBank | None = None,
        grid: GridSpec = GRID,
        readout_side: int = 5,
        readout_mix: tuple[float, float] = (1.0, 0.0),
        p_local: tuple[float, float] = (0.4, 0.7),
        couple_baselines: bool = True,
        legacy: bool = False,
    ) -> TwoLayerSSN:
        """From parameters and preferred orientations in degrees.

        `legacy` restores the published code where it differs: the feedforward tuning of the
        superficial I cells, and which rates the loss sees.
        """
        if len(readout_mix) != 2 or min(readout_mix) < 0 or max(readout_mix) == 0:
            raise ParameterError(
                f"readout_mix must be two shares of which one is positive, got {readout_mix}"
            )
        middle = MiddleLayer.create(orientations)
        superficial = SuperficialLayer.create(
            orientations, grid, p_local=p_local, couple_baselines=couple_baselines, legacy=legacy
        )
        mix = (readout_mix[0], readout_mix[1])
        model = cls(params, middle, superficial, bank, grid, readout_side, mix)
        if params.readout.shape != (model.n_features,):
            raise ParameterError(
                f"the readout must have {model.n_features} weights, got {params.readout.shape}"
            )
        return model

    @classmethod
    def default(
        cls, key: Array | int = 0, *, grid: GridSpec = GRID, readout_side: int | None = None
    ) -> TwoLayerSSN:
        """An orientation map and a readout drawn from `key`; weights as in the paper's example.

        `bioviz_ssn.rejection` draws the weights too. The readout is that of fine training, the
        central 5 x 5 points where the grid has them, unless `readout_side` says otherwise.
        """
        # The words of `jax.random.key(key)`; drawn in NumPy, where nothing is compiled.
        words = divmod(key % 2**64, 2**32) if isinstance(key, int) else _words(key)
        rng = np.random.default_rng(words)
        orientations = orientation_map(rng, grid)
        side = min(5 - 1 + grid.points % 2, grid.points) if readout_side is None else readout_side
        readout = jnp.asarray(READOUT * rng.standard_normal(side**2))
        params = SSNParams(
            LayerParams.create(MIDDLE),
            LayerParams.create(SUPERFICIAL, kappa=np.zeros((2, 2, 2))),
            jnp.asarray(np.log(FEEDFORWARD)),
            jnp.asarray(np.zeros(2)),
            readout,
            jnp.asarray(0.0),
        )
        bank = GaborBank.create(orientations, GAINS, grid)
        return cls.create(params, orientations, bank=bank, grid=grid, readout_side=side)

    def __repr__(self) -> str:
        settings = f"{self.grid}, readout_side={self.readout_side}, readout_mix={self.readout_mix}"
        return f"TwoLayerSSN({settings})"

    @property
    def legacy(self) -> bool:
        """Whether the published code's quirks are on."""
        return self.superficial.legacy

    @property
    def readout_points(self) -> np.ndarray:
        """Indices of the grid points that the readout sees."""
        return self.grid.central(self.readout_side)

    @property
    def n_features(self) -> int:
        """How many rates the readout sees."""
        return len(self.readout_points) * sum(share > 0 for share in self.readout_mix)

    def drive(self, images: Array) -> Array:
        """What the filters give for images: `(..., phases, 2, points)`, before rectification."""
        if self.bank is None:
            raise ParameterError("this model has no filter bank: give drives, or a bank")
        return self.bank.drive(images)

    def fixed_point(self, params: SSNParams, images: Array, **options: Any) -> TwoLayerFixedPoint:
        """The steady states for images; options as those of the function `fixed_point`."""
        return self.fixed_point_from_drive(params, self.drive(images), **options)

    def fixed_point_from_drive(
        self,
        params: SSNParams,
        drive: Array,
        *,
        r0: tuple[Array, Array] | None = None,
        **options: Any,
    ) -> TwoLayerFixedPoint:
        """The steady states for drives; `r0` holds the rates of both layers to start from."""
        first, second = (None, None) if r0 is None else r0
        middle = fixed_point(self.middle, params.middle, drive, r0=first, **options)
        output = self.middle.output(middle.r)
        superficial = fixed_point(self.superficial, params, output, r0=second, **options)
        return TwoLayerFixedPoint(middle, superficial)

    def features(self, fp: TwoLayerFixedPoint, noise: Array | None = None) -> Array:
        """What the readout sees, `(..., features)`; `noise`, of that shape, as `NOISE` scales it.

        The noise grows with the rate as a Poisson process's: `r + noise sqrt(softplus(r))`.
        """
        points = self.readout_points
        layers = (self.middle.output(fp.middle.r), fp.superficial.r)
        kept = [
            (r, share) for r, share in zip(layers, self.readout_mix[::-1], strict=True) if share
        ]
        rates = jnp.concatenate([r[..., points] for r, _ in kept], -1)
        shares = np.repeat([share for _, share in kept], len(points))
        if noise is not None:
            rates = rates + noise * jnp.sqrt(jax.nn.softplus(rates))
        return rates * jnp.asarray(shares, rates.dtype)

    def decide(
        self, params: SSNParams, fp: TwoLayerFixedPoint, noise: Array | None = None
    ) -> Array:
        """`z = w (r_reference - r_target) + b` of pairs: positive where the reference is larger."""
        features = self.features(fp, noise)
        return (features[..., 0, :] - features[..., 1, :]) @ params.readout + params.bias

    def __call__(self, images: Array, /) -> Array:
        """The answers z, without noise, to pairs of images `(pairs, 2, ...)`."""
        return self.decide(self.params, self.fixed_point(self.params, images))

    def activations(self, images: Array, /) -> dict[str, Array]:
        """Steady rates by layer, `(images, cells)`; of pairs, both stimuli's in one row."""
        fp = self.fixed_point(self.params, images)
        batch = len(images)
        return {name: getattr(fp, name).r.reshape(batch, -1) for name in fp._fields}

    def state_tree(self) -> SSNParams:
        """The parameters."""
        return self.params

    def with_state(self, state: Any, /) -> Self:
        """The model with these parameters."""
        return replace(self, params=refilled(type(self).__name__, self.params, state))


def _words(key: Array) -> np.ndarray:
    is_typed = jnp.issubdtype(key.dtype, jax.dtypes.prng_key)
    return np.asarray(jax.random.key_data(key) if is_typed else key).ravel()
