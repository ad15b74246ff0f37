"""Initial parameters of the two-layer model: drawn anew until the network is a plausible cortex."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.lab import seeding

from bioviz_ssn.errors import InitializationError
from bioviz_ssn.gabor import STEP, GaborBank
from bioviz_ssn.geometry import orientation_map
from bioviz_ssn.models.cohort import Cohort, Observation, observe
from bioviz_ssn.models.two_layer import MIDDLE, READOUT, SUPERFICIAL, TwoLayerSSN
from bioviz_ssn.models.v1_layers import GRID
from bioviz_ssn.parameters import LayerParams, SSNParams, log_weights
from bioviz_ssn.tasks import FineTask, GeneralTask

STIMULI = 10  # reference stimuli of either task
SIMULATED: dict[str, Any] = {"solver": "euler", "max_steps": 300, "tol": 0.02}
"""300 ms from rest; the published thresholds on dx allow a residual of about this share."""
MIDDLE_DRAWS, SUPERFICIAL_DRAWS, DRAWS = 300, 100, 1000

Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Ranges:
    """Where initial parameters are drawn from, uniformly; weights by their size, both layers alike.

    `g` are the gains of the filters, which no training changes. Kappas start at 0.
    """

    j_ee: Range = (4.0, 4.8)
    j_ei: Range = (1.2, 2.0)
    j_ie: Range = (4.6, 5.4)
    j_ii: Range = (0.8, 1.6)
    c: Range = (4.5, 5.5)
    f: Range = (0.6, 1.2)
    g: Range = (0.15, 0.45)
    learning_rate: Range = (3e-3, 5e-3)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What rates, in hertz, an accepted network has: of each layer and type, for each stimulus."""

    mean: Range = (5.0, 80.0)
    largest: Range = (10.0, 151.0)


PAPER_RANGES, PAPER_BOUNDS = Ranges(), Bounds()


class Draw(NamedTuple):
    """One candidate: weights `(2, 2)` by layer, baselines, feedforward and filter gains `(2,)`."""

    middle: np.ndarray
    superficial: np.ndarray
    c: np.ndarray
    f: np.ndarray
    g: np.ndarray


@dataclass(frozen=True)
class Accepted:
    """An accepted cohort, each seed's learning rate, and how many draws each condition refused."""

    cohort: Cohort
    orientations: np.ndarray
    learning_rates: np.ndarray
    failures: tuple[Counter[str], ...]


def accepted_cohort(
    seeds: Sequence[int],
    *,
    ranges: Ranges = PAPER_RANGES,
    bounds: Bounds = PAPER_BOUNDS,
    p_local: tuple[float, float] = (0.4, 0.7),
    table_step: float = STEP,
) -> Accepted:
    """A cohort of accepted networks, one per seed, which read out the whole grid.

    A draw is accepted where, with excitation and inhibition of the middle layer as
    1.1 |J_EE J_II| < |J_EI J_IE| and 1.1 |J_EI| g_I < |J_II| g_E, ten stimuli of either task leave
    every rate within `bounds` and every state converged and stable. The middle layer is drawn
    first, up to 300 times; then the superficial one, up to 100 times for each middle layer and 1000
    in all. A draw is simulated, and solved for its steady states only once it looks right. Raises
    `InitializationError` where a seed runs out of draws. A seed's networks do not depend on the
    others: all candidates of a round settle in one call.
    """
    searches = [_Search(seed, ranges, bounds) for seed in seeds]
    trials, noise = _reference_trials(seeds)
    maps, empty, readouts = _without_parameters(seeds, p_local, table_step)

    def judge(**options: Any) -> Cohort:
        cohort = _filled(empty, [search.draw for search in searches], readouts)
        seen = observe(cohort, trials, noise, **options)
        for place, search in enumerate(searches):
            search.judge(_of(seen, place))
        return cohort

    cohort = empty
    while not all(search.done for search in searches):
        # Simulated as published: a solver would look long for states that most draws do not have.
        while not all(search.done for search in searches):
            judge(block=STIMULI, **SIMULATED)
        cohort = judge()
    rates = np.array([search.learning_rate for search in searches], np.float32)
    failures = tuple(search.failures for search in searches)
    return Accepted(cohort, maps, rates, failures)


def example_cohort(seeds: Sequence[int], *, table_step: float = STEP) -> Accepted:
    """Networks with the weights of the published example, not drawn: maps and readouts are."""
    maps, empty, readouts = _without_parameters(seeds, (0.4, 0.7), table_step)
    f, g = np.array([0.9, 0.8]), np.array([0.35, 0.2])
    draw = Draw(np.array(MIDDLE), np.array(SUPERFICIAL), np.full(2, 5.0), f, g)
    cohort = _filled(empty, [draw] * len(seeds), readouts)
    rates = np.full(len(seeds), 4e-3, np.float32)
    return Accepted(cohort, maps, rates, tuple(Counter[str]() for _ in seeds))


def _without_parameters(
    seeds: Sequence[int], p_local: tuple[float, float], table_step: float
) -> tuple[np.ndarray, Cohort, np.ndarray]:
    """Orientation maps, a cohort that waits for parameters, and first readouts."""
    maps = [orientation_map(seeding.rng(seed, "orientation-map"), GRID) for seed in seeds]
    tables = [GaborBank.create(m, (1.0, 1.0)).table(step=table_step) for m in maps]
    draws = [seeding.rng(seed, "readout").standard_normal(GRID.points**2) for seed in seeds]
    readouts = READOUT * np.stack(draws)
    blank = Draw(np.array(MIDDLE), np.array(SUPERFICIAL), *np.ones((3, 2)))
    params = jax.tree.map(lambda leaf: leaf[0], _params([blank], readouts[:1]))
    networks = [
        TwoLayerSSN.create(params, where, readout_side=GRID.points, p_local=p_local)
        for where in maps
    ]
    return np.stack(maps), Cohort.stack(networks, tables), readouts


def _filled(empty: Cohort, draws: Sequence[Draw], readouts: np.ndarray) -> Cohort:
    gains = jnp.asarray(np.stack([draw.g for draw in draws]), jnp.float32)
    cohort = replace(empty, table=replace(empty.table, gains=gains))
    return cohort.with_state(_params(draws, readouts))


class _Search:
    """The draws of one seed, until a candidate of each layer is accepted."""

    def __init__(self, seed: int, ranges: Ranges, bounds: Bounds) -> None:
        self.rng = seeding.rng(seed, "initial-parameters")
        self.ranges, self.bounds, self.failures = ranges, bounds, Counter[str]()
        self.done = False
        self.middles = self.superficials = self.draws = 0
        self.learning_rate = self.rng.uniform(*ranges.learning_rate)
        self._draw_middle()

    def judge(self, seen: Observation) -> None:
        """Accept the current candidate, or draw the next; one accepted before must pass again."""
        failed = _failed(seen, self.bounds, layer=0)
        if failed:
            self._refuse(failed)
            self._draw_middle()
            return
        failed = _failed(seen, self.bounds, layer=1)
        self.done = not failed
        if failed:
            self._refuse(failed)
            self.superficials += 1
            exhausted = self.superficials >= SUPERFICIAL_DRAWS
            (self._draw_middle if exhausted else self._draw_superficial)()

    def _draw_middle(self) -> None:
        """The next candidate that passes both inequalities."""
        self.superficials = 0
        while True:
            self.middles += 1
            if self.middles > MIDDLE_DRAWS:
                raise InitializationError(self.middles + self.draws, self.failures)
            r = self.ranges
            j, c, g = self._weights(), self._two(r.c), self._two(r.g)
            (ee, ei), (ie, ii) = np.abs(j)
            broken = []
            if not 1.1 * ee * ii < ei * ie:
                broken.append("1.1 |J_EE J_II| < |J_EI J_IE|")
            if not 1.1 * ei * g[1] < ii * g[0]:
                broken.append("1.1 |J_EI| g_I < |J_II| g_E")
            if not broken:
                self.draw = Draw(j, j, c, np.ones(2), g)
                self._draw_superficial()
                return
            self.failures.update(broken)

    def _draw_superficial(self) -> None:
        self.draw = self.draw._replace(superficial=self._weights(), f=self._two(self.ranges.f))

    def _refuse(self, failed: Iterable[str]) -> None:
        self.failures.update(failed)
        self.draws += 1
        if self.draws >= DRAWS:
            raise InitializationError(self.draws, self.failures)

    def _weights(self) -> np.ndarray:
        r = self.ranges
        sizes = [self.rng.uniform(*bounds) for bounds in (r.j_ee, r.j_ei, r.j_ie, r.j_ii)]
        return np.array(sizes).reshape(2, 2) * [[1, -1], [1, -1]]

    def _two(self, bounds: Range) -> np.ndarray:
        return self.rng.uniform(*bounds, size=2)


def _failed(seen: Observation, bounds: Bounds, layer: int) -> list[str]:
    """Which conditions a layer breaks on the reference stimuli, of one seed's observation."""
    name = ("middle", "superficial")[layer]
    mean, peak = seen.mean_rates[..., layer, :], seen.max_rates[..., layer, :]
    broken = []
    if not np.isfinite(peak).all():
        return [f"{name} rates are not finite"]
    if not ((mean > bounds.mean[0]) & (mean < bounds.mean[1])).all():
        broken.append(f"{name} mean rates in {bounds.mean} Hz")
    if not ((peak > bounds.largest[0]) & (peak < bounds.largest[1])).all():
        broken.append(f"{name} largest rates in {bounds.largest} Hz")
    if layer and not np.all(seen.converged):
        broken.append("all states converged")
    if not seen.decay[layer] > 0:
        broken.append(f"{name} states stable")
    return broken


def _of(seen: Observation, place: int) -> Observation:
    """One seed's part."""
    trials: Any = [np.asarray(part)[:, place] for part in seen[:-1]]
    return Observation._make([*trials, seen.decay[place]])


def _reference_trials(seeds: Sequence[int]) -> tuple[np.ndarray, np.ndarray]:
    """Five pairs of either task and their noise, for each seed."""
    noises, trials = [], []
    for seed in seeds:
        rng = seeding.rng(seed, "reference-stimuli")
        pairs = [
            task.draw(rng, STIMULI // 2)["orientations"] for task in (FineTask(), GeneralTask())
        ]
        trials.append(np.concatenate(pairs))
        noises.append(rng.standard_normal((STIMULI, 2, 4 * GRID.points**2 - GRID.points**2)))
    return np.stack(trials, 1).astype(np.float32), np.stack(noises, 1).astype(np.float32)


def _params(draws: Sequence[Draw], readouts: np.ndarray) -> SSNParams:
    """Parameters with a leading axis of seeds."""

    def layer(weights: list[np.ndarray], kappa: tuple[int, ...]) -> LayerParams:
        return LayerParams(
            log_weights(np.stack(weights).astype(np.float32)),
            jnp.asarray(c),
            jnp.zeros((len(draws), *kappa)),
        )

    c, f = (np.stack(x).astype(np.float32) for x in zip(*(d[2:4] for d in draws), strict=True))
    return SSNParams(
        layer([draw.middle for draw in draws], (2, 2)),
        layer([draw.superficial for draw in draws], (2, 2, 2)),
        jnp.asarray(np.log(f)),
        jnp.zeros((len(draws), 2)),
        jnp.asarray(readouts, jnp.float32),
        jnp.zeros(len(draws)),
    )
