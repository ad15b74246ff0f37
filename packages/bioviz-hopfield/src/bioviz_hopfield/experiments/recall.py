"""How much comes back: random patterns by dimension and number, digits from their halves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from bioviz_core.lab.run import Run
from bioviz_core.stimuli.embedded import digits
from bioviz_core.stimuli.sources import column

from bioviz_hopfield.experiments.certificates import WITH_ENERGY
from bioviz_hopfield.functional import energy, retrieve
from bioviz_hopfield.store import AssociativeMemory

Rates = Mapping[int, Mapping[int, float]]
"""Share recalled, by dimension and then by number of patterns."""
NEAR = 0.1
"""Of a pattern's norm: the error below which it counts as recalled."""


@dataclass(frozen=True, slots=True)
class Recalled:
    """Stored images, the cues and what came back, `(count, 8, 8)` in [0, 1], and which are right.

    Right is a retrieval that is nearer to its own image than to any other, and near to it.
    """

    stored: np.ndarray
    cues: np.ndarray
    found: np.ndarray
    right: np.ndarray

    @property
    def share(self) -> float:
        """The share that is right."""
        return float(self.right.mean())


def rates(dimensions: Sequence[int], largest: int, queries: int, run: Run) -> Rates:
    """Recall of random patterns on the sphere of radius `sqrt(D - 1)`, at `beta = 1`.

    One update from the pattern with noise of a twentieth of its norm; fresh patterns each time.
    """
    found: dict[int, dict[int, float]] = {}
    sizes = [2**k for k in range(2, largest.bit_length())]
    for dim in run.track(dimensions, "recall"):
        found[dim] = {}
        for count in sizes:
            rng = run.rng("recall", dim, count)
            patterns = _unit(rng.normal(size=(count, dim))) * np.sqrt(dim - 1)
            chosen = patterns[:queries]
            noise = _unit(rng.normal(size=chosen.shape)) * np.sqrt(dim - 1) / 20
            keys, cues = torch.from_numpy(patterns), torch.from_numpy(chosen + noise)
            error = (retrieve(cues, keys, beta=1.0) - keys[: len(cues)]).norm(dim=-1)
            found[dim][count] = float((error < NEAR * np.sqrt(dim - 1)).double().mean())
            if found[dim][count] == 0:  # larger memories recall nothing either
                break
    return found


def half_recalled(share: Mapping[int, float]) -> float | None:
    """The number of patterns at which half comes back, between the sizes tried.

    None where more than half still comes back from the largest memory.
    """
    sizes, shares = [*share], [*share.values()]
    below = next((place for place, value in enumerate(shares) if value < 0.5), None)
    if below is None:
        return None
    if below == 0:
        return float(sizes[0])
    high, low = shares[below - 1], shares[below]
    along = (high - 0.5) / (high - low)
    return float(sizes[below - 1] * (sizes[below] / sizes[below - 1]) ** along)


def descents(run: Run, *, updates: int = 12) -> Mapping[str, np.ndarray]:
    """Energy above the last one by update, `(states, updates)`, for each separation."""
    rng = run.rng("descent")
    keys, states = (torch.from_numpy(rng.normal(size=shape)) for shape in ((200, 24), (10, 24)))
    found: dict[str, np.ndarray] = {}
    for separation in WITH_ENERGY:
        now, energies = states, []
        for _ in range(updates + 1):
            energies.append(energy(now, keys, beta=0.3, separation=separation))
            now = retrieve(now, keys, beta=0.3, separation=separation)
        levels = torch.stack(energies, 1).numpy()
        settled = energy(
            retrieve(now, keys, beta=0.3, separation=separation, steps=300),
            keys, beta=0.3, separation=separation,
        )  # fmt: skip
        found[separation] = levels - settled.numpy()[:, None]
    return found


def halves(count: int) -> Recalled:
    """The first digits, each shown its upper half to a memory of them all."""
    images = column(digits(), "inputs")[:count, 0]
    patterns = torch.from_numpy(images).flatten(1) * 2 - 1
    cues = patterns * (torch.arange(64) < 32)
    found = AssociativeMemory(patterns, beta=4.0).retrieve(cues, steps=3)
    distances = torch.cdist(found, patterns)
    right = (distances.argmin(1) == torch.arange(count)) & (distances.diagonal() < 1)
    shown = [((x + 1) / 2).reshape(-1, 8, 8).clamp(0, 1).numpy() for x in (patterns, cues, found)]
    return Recalled(shown[0], shown[1], shown[2], right.numpy())


def _unit(points: np.ndarray) -> np.ndarray:
    return np.asarray(points / np.linalg.norm(points, axis=1, keepdims=True))
