"""One step of discrimination training, of many seeds at once."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import optax
from bioviz_core.bridge.jax import jit
from bioviz_core.interfaces import Batch, Framework, Model, Step
from jax import Array

from bioviz_ssn.gabor import DriveTable
from bioviz_ssn.losses import Evaluation, LossWeights, discrimination_loss
from bioviz_ssn.models.cohort import TERMS, by_seed, for_each
from bioviz_ssn.models.two_layer import TwoLayerSSN
from bioviz_ssn.parameters import POPULATIONS, SSNParams, named

FINE = LossWeights()
MAX_STEPS = 60
"""Of the solver, for a state that the chord does not find: sound networks take ten or so."""
CENTER = 5
"""Points per side of what the fine task reads, which the flip rule turns over."""


@runtime_checkable
class Discriminating(Model, Protocol):
    """Networks of many seeds that tell orientations apart: see `bioviz_ssn.Cohort`."""

    network: TwoLayerSSN
    table: DriveTable
    mean_rates: Array

    def split_noise(self, noise: Array) -> tuple[Array, Array]:
        """The noise of drives and that of the readout."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class PerceptualLearning:
    """Gradient descent on the discrimination loss, each seed of a cohort on its own trials.

    `trained` is 1 or 0 in the shapes of the parameters, `learning_rate` a number or one per seed;
    `optimizer` is optax's without a learning rate, applied seed by seed. Batches hold what
    `bioviz_ssn.Trials` gives for `seeds`. Two keys more, `(trials, seeds)`, of which the first
    trial counts: seeds where `mask` is 0 are left as they are, and where `flip` is 1 the central
    readout, the bias and their first moments change sign instead of learning.

    A seed whose loss or gradient is not finite, or that loses more states than it has trials, is
    left as it was and marked in `Cohort.seen`; the others do not notice. A rule is a pytree: rules
    that differ in numbers share a compiled step.
    """

    trained: SSNParams
    learning_rate: Array
    amounts: dict[str, Array]
    static: LossWeights = field(metadata={"static": True})
    optimizer: optax.GradientTransformation = field(metadata={"static": True})

    framework: ClassVar[Framework] = "jax"
    needs: ClassVar[tuple[type, ...]] = (Discriminating,)
    reads: ClassVar[tuple[str, ...]] = ("orientations", "labels", "noise")
    sharded: ClassVar[bool] = False

    @classmethod
    def create(
        cls,
        trained: SSNParams,
        *,
        weights: LossWeights = FINE,
        learning_rate: Any = 4e-3,
        optimizer: optax.GradientTransformation | None = None,
    ) -> PerceptualLearning:
        """The rule; the optimizer is Adam unless given."""
        names = ("task", "r_max", "r_mean", "w", "b")
        amounts = {name: jnp.asarray(getattr(weights, name), jnp.float32) for name in names}
        # Which terms exist decides what is compiled; how much they count does not.
        static = replace(weights, **dict.fromkeys(names, 1.0))
        rate = jnp.asarray(learning_rate, jnp.float32)
        return cls(trained, rate, amounts, static, ADAM if optimizer is None else optimizer)

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> Any:
        """The optimizer's state, with a leading axis of seeds."""
        del batch, seed
        return jit(jax.vmap(self.optimizer.init))(model.network.params)

    def step(self, model: Any, batch: Any, state: Any, /, *, seed: int) -> Step[Any, Any]:
        """One step of every seed that learns."""
        del seed  # the noise is in the batch
        params = model.network.params
        everyone = jnp.ones(len(params.bias), bool)
        learns = batch["mask"][0] > 0 if "mask" in batch else everyone
        to_drives, to_readout = model.split_noise(batch["noise"])
        trials = (batch["orientations"], batch["labels"], to_drives, to_readout)
        own = (model.network, model.table, model.mean_rates)
        grade = jax.value_and_grad(self._loss, has_aux=True)
        each = (params, own, tuple(by_seed(jnp.asarray(x)) for x in trials))
        (loss, found), slope = for_each(learns, grade, *each)
        slope = jax.tree.map(jnp.multiply, slope, self.trained)

        lost = found.n_unconverged > batch["labels"].shape[0]
        sound = jnp.isfinite(loss) & _finite(slope) & ~lost
        flips = batch["flip"][0] > 0 if "flip" in batch else ~everyone
        change, moved = jax.vmap(self.optimizer.update)(slope, state, params)
        rate = -self.learning_rate * everyone
        to = jax.tree.map(
            lambda p, c, t: p + _by_seed(rate, c) * c * t, params, change, self.trained
        )
        to, moved = (
            choose(learns & sound & ~flips, new, old) for new, old in ((to, params), (moved, state))
        )
        turned = choose(learns & flips, _flipped(model, to), to)
        moments = optax.tree.get(moved, "mu")
        if moments is not None:
            moments = choose(learns & flips, _flipped(model, moments), moments)
            moved = optax.tree.set(moved, mu=moments)
        seen = {"loss": loss, "sound": sound.astype(loss.dtype), **readings(found)}
        seen |= named(turned)
        model = replace(model.with_state(turned), seen=seen)
        shown = learns & sound
        share = shown / jnp.maximum(jnp.sum(shown), 1)
        means = {name: jnp.sum(jnp.where(shown, x, 0) * share) for name, x in seen.items()}
        return Step(model, moved, {**means, "seeds": jnp.sum(shown)})

    def _loss(self, params: SSNParams, own: Any, trials: Any) -> tuple[Array, Evaluation]:
        network, table, mean_rates = own
        orientations, labels, to_drives, to_readout = trials
        drive = table.drive(orientations, to_drives)
        amounts: Any = self.amounts
        return discrimination_loss(
            network, params, drive, labels, to_readout,
            weights=replace(self.static, **amounts), mean_rates=mean_rates, max_steps=MAX_STEPS,
        )  # fmt: skip


ADAM = optax.scale_by_adam()


def readings(found: Evaluation) -> dict[str, Array]:
    """What a step showed, by seed: accuracy, terms of the loss, rates, slowest modes."""
    none = jnp.zeros_like(found.accuracy)
    shown = {"accuracy": found.accuracy, **dict.fromkeys(TERMS, none), **found.terms}
    for prefix, rates in (("mean", found.mean_rates), ("max", found.max_rates)):
        flat = rates.reshape(*rates.shape[:-2], -1)
        shown |= {f"{prefix}_{name}": flat[..., k] for k, name in enumerate(POPULATIONS)}
    shown |= {f"decay_{letter}": found.decay[..., k] for k, letter in enumerate("ms")}
    return {**shown, "n_unconverged": found.n_unconverged.astype(none.dtype)}


def choose(where: Array, yes: Any, no: Any) -> Any:
    """Leaf by leaf one of two trees, by seed."""
    return jax.tree.map(lambda y, n: jnp.where(_by_seed(where, y), y, n), yes, no)


def _by_seed(values: Array, leaf: Array) -> Array:
    return values.reshape(-1, *[1] * (leaf.ndim - 1))


def _finite(tree: Any) -> Array:
    """By seed, whether all of a tree is."""
    leaves = [jnp.isfinite(x).reshape(len(x), -1).all(1) for x in jax.tree.leaves(tree)]
    return jnp.stack(leaves).all(0)


def _flipped(model: Any, params: SSNParams) -> SSNParams:
    """With the other sign of what the fine task reads."""
    grid = model.network.grid
    side = model.network.readout_side
    center = jnp.asarray(replace(grid, points=side).central(min(CENTER, side)))
    readout = params.readout.at[..., center].multiply(-1)
    return replace(params, readout=readout, bias=-params.bias)
