"""What must hold of fast weights to the bit, or to rounding in float64."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from bioviz_fastweights.attach import attach_fast_weights
from bioviz_fastweights.fast_weights import FastWeights
from bioviz_fastweights.models.autoencoder import ViTAutoencoder

DTYPES = (torch.float32, torch.bfloat16)


@dataclass(frozen=True, slots=True)
class Merged:
    """Slow weights that differ after rounds of merging, and after adding and subtracting."""

    differing: int
    by_subtracting: int


@torch.no_grad()
def attaching() -> int:
    """Output values that differ after attaching, in float32 and bfloat16, training and not."""
    differing = 0
    for dtype in DTYPES:
        for training in (True, False):
            model = ViTAutoencoder().to(dtype).train(training)
            before = model(_images(dtype))
            attach_fast_weights(model)
            differing += _differing(model(_images(dtype)), before)
    return differing


@torch.no_grad()
def merging(rounds: int) -> Merged:
    """The slow weights after rounds of `merged`, against what adding and subtracting leaves."""
    differing = by_subtracting = 0
    for dtype in DTYPES:
        _, fast = _written(dtype)
        before = {name: _slow(fast, name).clone() for name in fast.layers}
        deltas = {name: delta.to(dtype) for name, delta in fast.delta().items()}
        usual = {name: weight.clone() for name, weight in before.items()}
        for _ in range(rounds):
            with fast.merged():
                pass
            for name, weight in usual.items():
                weight.add_(deltas[name]).sub_(deltas[name])
        differing += sum(_differing(_slow(fast, name), before[name]) for name in before)
        by_subtracting += sum(_differing(usual[name], before[name]) for name in before)
    return Merged(differing, by_subtracting)


@torch.no_grad()
def resetting() -> int:
    """Output values that differ from the plain model's after writing and resetting."""
    differing = 0
    for dtype in DTYPES:
        plain = ViTAutoencoder().to(dtype)(_images(dtype))
        model, fast = _written(dtype)
        fast.reset()
        differing += _differing(model(_images(dtype)), plain)
    return differing


def writing_elsewhere() -> int:
    """Weights, slow and of the first context, that differ after a second context is written."""
    model, fast = _written(torch.float32)
    fast.add_context("other")
    before = model.state_tree()
    fast.use("other")
    fast.write(_images(torch.float32), steps=2)
    after = model.state_tree()
    kept = [name for name in before if ".other." not in name]
    assert not all(torch.equal(after[name], before[name]) for name in before), "nothing was written"
    return sum(_differing(after[name], before[name]) for name in kept)


@torch.no_grad()
def algebra() -> float:
    """The largest deviation of decay, mixtures and consolidation from dense float64 arithmetic."""
    model, fast = _written(torch.float64)
    fast.add_context("other")
    _fill(fast, "other", seed=2)
    first, other = fast.delta("default"), fast.delta("other")
    worst = 0.0

    def compare(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
        nonlocal worst
        gaps = (float((found[name] - expected[name]).abs().max()) for name in found)
        worst = max(worst, *gaps)

    fast.mix({"default": 0.7, "other": -0.4})
    compare(fast.delta(), {n: 0.7 * first[n] - 0.4 * other[n] for n in first})
    fast.use("default")
    fast.decay(0.5)
    fast.decay_over(1.0, tau=2.0)
    share = 0.5 * torch.exp(torch.tensor(-0.5, dtype=torch.float64))
    compare(fast.delta(), {n: share * first[n] for n in first})
    slow = {name: _slow(fast, name).clone() for name in fast.layers}
    answers = model(_images(torch.float64))
    fast.consolidate(0.3)
    compare(fast.delta(), {n: 0.7 * share * first[n] for n in first})
    compare({n: _slow(fast, n) for n in slow}, {n: slow[n] + 0.3 * share * first[n] for n in slow})
    compare({"outputs": model(_images(torch.float64))}, {"outputs": answers})
    return worst


def _written(dtype: torch.dtype) -> tuple[ViTAutoencoder, FastWeights]:
    """An autoencoder with random fast weights, as writing would leave them."""
    model = ViTAutoencoder(rank=4).to(dtype)
    assert model.fast_weights is not None
    _fill(model.fast_weights, "default", seed=1)
    return model, model.fast_weights


@torch.no_grad()
def _fill(fast: FastWeights, context: str, *, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for _, b, _ in fast.adapters(context):
        draw = torch.randn(b.weight.shape, generator=generator)
        b.weight.copy_(0.1 * draw.to(b.weight) * b.mask)


def _images(dtype: torch.dtype) -> Tensor:
    return torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0)).to(dtype)


def _slow(fast: FastWeights, name: str) -> Tensor:
    layer: Any = fast.layers[name]
    weight: Tensor = layer.get_base_layer().weight
    return weight


def _differing(found: Tensor, expected: Tensor) -> int:
    """Values that do not have the same bits; NaN differs from all."""
    return int((found != expected).sum())
