"""Two-layer networks of many seeds, trained and tested at once in drive space."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache, partial
from typing import Any, ClassVar, NamedTuple, Self

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.bridge.jax import is_quick, jit
from bioviz_core.interfaces import Framework
from jax import Array

from bioviz_ssn.errors import ParameterError
from bioviz_ssn.gabor import DriveTable
from bioviz_ssn.losses import slow_modes
from bioviz_ssn.models.network import refilled
from bioviz_ssn.models.two_layer import NOISE, TwoLayerSSN
from bioviz_ssn.parameters import NAMES, POPULATIONS, SSNParams

TERMS = ("task", "r_max", "r_mean", "w", "b", "stability", "dx")
SEEN = (
    "loss", "sound", "accuracy", *TERMS, *(f"mean_{p}" for p in POPULATIONS),
    *(f"max_{p}" for p in POPULATIONS), "decay_m", "decay_s", "n_unconverged", *NAMES,
)  # fmt: skip
"""What a step shows of each seed: terms, rates, slowest modes, and the parameters it left.

`sound` is 1 where loss and gradient were finite and states were found."""


class Observation(NamedTuple):
    """What trials evoke: all arrays start with `(trials, seeds)`, but `decay (seeds, 2)`.

    `z` is the answer, `features (..., 2, features)` what the readout sees, noise included;
    `rates (..., 2, 2, 2, points)` are by stimulus, layer and type, in hertz, those of the middle
    layer added over phases; `mean_rates` and `max_rates (..., 2, 2, 2)` are those of its cells.
    `decay` is that of the slowest mode of the middle and the superficial layer, per ms.
    """

    z: Array
    features: Array
    rates: Array
    mean_rates: Array
    max_rates: Array
    converged: Array
    decay: Array


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class Cohort:
    """One two-layer network per seed; arrays of `network` and `table` have a leading seeds axis.

    Trials are `(trials, seeds, 2)` orientations in degrees, the reference first. Their noise
    `(trials, seeds, 2, n_noise)` is standard normal: the first numbers are for the drives, the
    others for the readout. `mean_rates (seeds, 2, 2)` are what the loss draws the mean rates to.
    `alive` is 0 for seeds whose network was lost: they are shown nothing and answer with zeros.
    `seen` holds, by seed, what the last training step showed (`SEEN`); both are no part of the
    state.
    """

    network: TwoLayerSSN
    table: DriveTable
    mean_rates: Array
    alive: Array
    seen: dict[str, Array] = field(default_factory=dict)
    framework: ClassVar[Framework] = "jax"

    @classmethod
    def stack(
        cls,
        networks: Sequence[TwoLayerSSN],
        tables: Sequence[DriveTable],
        *,
        mean_rates: Any = ((25.0, 50.0), (25.0, 50.0)),
    ) -> Cohort:
        """From one network and one table of drives per seed, all of the same settings."""
        if not networks or len(networks) != len(tables):
            raise ParameterError(
                f"needs a table for each network, got {len(tables)} for {len(networks)}"
            )
        network, table = stacked(networks), stacked(tables)
        seeds = len(networks)
        targets = jnp.asarray(np.broadcast_to(np.asarray(mean_rates, float), (seeds, 2, 2)))
        seen = {name: jnp.zeros(seeds) for name in SEEN}
        return cls(network, table, targets, jnp.ones(seeds), seen)

    def __len__(self) -> int:
        return int(self.network.params.bias.shape[0])

    @property
    def params(self) -> SSNParams:
        """The parameters, with a leading seeds axis."""
        return self.network.params

    @property
    def n_noise(self) -> int:
        """How many normal numbers one stimulus takes."""
        return int(self.table.factor.shape[-1]) + self.network.n_features

    def split_noise(self, noise: Array) -> tuple[Array, Array]:
        """The noise of drives, standard normal, and that of the readout, in its own scale."""
        drives = self.table.factor.shape[-1]
        return noise[..., :drives], NOISE * noise[..., drives:]

    def __call__(self, inputs: Array, /) -> Array:
        """The answers z `(trials, seeds)` to orientations, without noise."""
        return self.observe(inputs).z

    def activations(self, inputs: Array, /) -> dict[str, Array]:
        """Steady rates of both layers, `(trials, seeds * 2 * cells)`, without noise."""

        def settle(network: TwoLayerSSN, table: DriveTable, angles: Array) -> dict[str, Array]:
            fp = network.fixed_point_from_drive(network.params, table.drive(angles))
            return {name: getattr(fp, name).r for name in fp._fields}

        rates = jax.vmap(settle, (0, 0, 1), 1)(self.network, self.table, jnp.asarray(inputs))
        return {name: r.reshape(len(r), -1) for name, r in rates.items()}

    def state_tree(self) -> SSNParams:
        """The parameters."""
        return self.params

    def with_state(self, state: Any, /) -> Self:
        """The cohort with these parameters."""
        params = refilled(type(self).__name__, self.params, state)
        return replace(self, network=replace(self.network, params=params))

    def member(self, seed: int) -> TwoLayerSSN:
        """The network of one seed, by its place."""
        member: TwoLayerSSN = jax.tree.map(lambda leaf: leaf[seed], self.network)
        return member

    def observe(
        self, orientations: Array, noise: Array | None = None, **options: Any
    ) -> Observation:
        """What trials evoke; options as those of `fixed_point`. Without noise the noise is 0."""
        angles = jnp.asarray(orientations)
        if angles.ndim != 3 or angles.shape[1:] != (len(self), 2):
            raise ParameterError(
                f"trials must be (trials, {len(self)}, 2) orientations, got {angles.shape}"
            )
        if noise is None:
            noise = jnp.zeros((*angles.shape, self.n_noise), self.mean_rates.dtype)
        to_drives, to_readout = self.split_noise(noise)
        trials = (by_seed(x) for x in (angles, to_drives, to_readout))
        look = partial(_observe, options)
        found: Any = for_each(self.alive, look, self.network, self.table, *trials)
        found = Observation._make([*(by_seed(x) for x in found[:-1]), found.decay])
        seen: Observation = found
        return seen


def for_each(seeds: Array, function: Callable[..., Any], *arrays: Any) -> Any:
    """What a function gives seed by seed where `seeds` is not 0, and zeros for the others.

    Not by vmap, with which every seed's solver would take as long as the slowest one's; a network
    that has no steady state takes longest, and one that is left out costs nothing.
    """

    function = jax.jit(function)  # traced once for its shapes and its values

    def one(seed: tuple[Array, Any]) -> Any:
        is_wanted, given = seed
        shapes = jax.eval_shape(function, *given)
        none = jax.tree.map(lambda shape: jnp.zeros(shape.shape, shape.dtype), shapes)
        return jax.lax.cond(is_wanted, lambda given: function(*given), lambda _: none, given)

    return jax.lax.map(one, (seeds != 0, arrays))


def by_seed(x: Array) -> Array:
    """The first two axes, trials and seeds, in the other order."""
    return jnp.swapaxes(x, 0, 1)


def _observe(
    options: dict[str, Any],
    network: TwoLayerSSN,
    table: DriveTable,
    angles: Array,
    to_drives: Array,
    to_readout: Array,
) -> Observation:
    """One seed's trials."""
    drive = table.drive(angles, to_drives)
    fp = network.fixed_point_from_drive(network.params, drive, **options)
    features = network.features(fp, to_readout)
    z = (features[:, 0] - features[:, 1]) @ network.params.readout + network.params.bias
    middle, superficial = fp.middle.r, fp.superficial.r
    cells = [middle[..., 0, :], middle[..., 1, :], *jnp.split(superficial, 2, -1)]
    flat = [r.reshape(*r.shape[:2], -1) for r in cells]
    shape = (*z.shape, 2, 2, 2)
    mean = jnp.stack([r.mean(-1) for r in flat], -1).reshape(shape)
    peak = jnp.stack([r.max(-1) for r in flat], -1).reshape(shape)
    settled = fp.middle.converged.all((1, 2, 3)) & fp.superficial.converged.all(1)
    in_middle, in_superficial = slow_modes(network, network.params, drive, fp)
    decay = jnp.stack([jnp.min(in_middle, initial=jnp.inf), in_superficial])
    summed = [r.sum(-2) if r.ndim == 4 else r for r in cells]
    rates = jnp.stack(summed, -2).reshape(*z.shape, 2, 2, 2, -1)
    return Observation(z, features, rates, mean, peak, settled, decay)


BLOCK = 50
"""Trials that are observed together, so that one compiled function serves every test."""


@lru_cache(maxsize=4)
def _observer(quick: bool) -> Callable[..., Observation]:
    """Compiled once, and once more for `quick_compilation`."""
    del quick  # which is in force now

    def run(cohort: Cohort, orientations: Array, noise: Array, **options: Any) -> Observation:
        return cohort.observe(orientations, noise, **options)

    return jit(run, static_argnames=("solver", "max_steps", "tol"))


def observe(
    cohort: Cohort,
    orientations: np.ndarray,
    noise: np.ndarray,
    *,
    block: int = BLOCK,
    **options: Any,
) -> Observation:
    """`Cohort.observe` in blocks of trials, as NumPy arrays; compiled once per cohort and block.

    `decay` is the least of all blocks.
    """
    count = len(orientations)
    # A cohort that is new and one that was trained would each compile, for how they were placed.
    cohort = jax.device_put(cohort, cohort.mean_rates.device)
    run = _observer(is_quick())
    wrap = np.arange(count + -count % block) % count
    blocks = [
        jax.device_get(run(cohort, orientations[part], noise[part], **options))
        for part in wrap.reshape(-1, block)
    ]
    found: Any = [np.concatenate(parts)[:count] for parts in zip(*blocks, strict=True)]
    return Observation._make([*found[:-1], np.min([found.decay for found in blocks], axis=0)])


def stacked(trees: Sequence[Any]) -> Any:
    """Trees of equal structure as one, each leaf with a new leading axis."""
    return jax.tree.map(lambda *leaves: jnp.asarray(np.stack(leaves)), *trees)
