"""Several memories in one model: apart to the bit, and mixed by exact arithmetic."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from bioviz_fastweights import (
    ContextError,
    FastWeights,
    MergedStateError,
    UnknownContextError,
    ViTAutoencoder,
    attach_fast_weights,
    detach_fast_weights,
)
from bioviz_fastweights.rules.gradient_write import GradientWrite
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


@torch.no_grad()
def small(dtype: torch.dtype = torch.float32) -> tuple[nn.Module, FastWeights]:
    """A model with the contexts `default`, `a` and `b`, each with random `B` in its blocks."""
    torch.manual_seed(0)
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 12, "depth": 2, "num_heads": 2}
    model = VisionTransformer(**options, num_classes=0, global_pool="").to(dtype)
    fast = attach_fast_weights(model, rank=2)
    for name in ("a", "b"):
        fast.add_context(name)
    for number, name in enumerate(fast.contexts):
        generator = torch.Generator().manual_seed(number)
        for _, b, _ in fast.adapters(name):
            b.weight.copy_(torch.randn(b.weight.shape, generator=generator) * b.mask.cpu())
    return model.eval(), fast


def pictures(dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.rand(2, 3, 16, 16, generator=torch.Generator().manual_seed(5)).to(dtype)


def kept(fast: FastWeights, name: str) -> list[Tensor]:
    return [p.detach().clone() for p in fast._parameters_of([name])]


def test_a_new_context_is_empty_and_the_one_in_use_stays() -> None:
    model, fast = small()
    fast.use("a")
    before = model(pictures())
    fast.add_context("c")
    assert fast.active == "a"
    assert torch.equal(model(pictures()), before)
    assert fast.contexts == ("default", "a", "b", "c")
    assert all((delta == 0).all() for delta in fast.delta("c").values())
    fast.use("c")
    with fast.disabled():
        slow = model(pictures())
    assert torch.equal(model(pictures()), slow)


# Certificate merge-reset-bits: writing another context


def test_writing_to_one_context_leaves_the_others_and_the_slow_weights_to_the_bit() -> None:
    model = ViTAutoencoder(rank=2)
    fast: Any = model.fast_weights
    fast.add_context("b")
    fast.write(torch.rand(2, 3, 64, 64), steps=2)
    before, first = model.state_tree(), kept(fast, "default")
    fast.use("b")
    fast.write(torch.rand(2, 3, 64, 64), steps=2)
    assert all(map(torch.equal, kept(fast, "default"), first))
    assert fast.delta("b")["encoder.blocks.0.attn.qkv"].norm() > 0
    after = model.state_tree()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all(".b." in name for name in changed)


# Certificate delta-algebra: mixtures


def test_a_mixture_adds_the_weighted_deltas() -> None:
    model, fast = small(torch.float64)
    a, b = fast.delta("a"), fast.delta("b")
    fast.mix({"a": 0.5, "b": -0.25})
    for name, delta in fast.delta().items():
        assert torch.allclose(delta, 0.5 * a[name] - 0.25 * b[name], rtol=0, atol=1e-14)
        layer: Any = fast.layers[name]
        x = torch.randn(3, 12, dtype=torch.float64)
        expected = layer.get_base_layer()(x) + x @ delta.T
        assert torch.allclose(layer(x), expected, rtol=0, atol=1e-12)
    with fast.merged():
        merged = model(pictures(torch.float64))
    assert torch.allclose(model(pictures(torch.float64)), merged, rtol=0, atol=1e-12)


def test_a_mixture_of_one_is_using_it_to_the_bit_and_using_undoes_a_mixture() -> None:
    model, fast = small()
    fast.use("a")
    expected = model(pictures())
    fast.mix({"a": 0.5, "b": 0.5})
    assert not torch.equal(model(pictures()), expected)
    fast.mix({"a": 1.0})
    assert torch.equal(model(pictures()), expected)
    fast.mix({"a": 0.5, "b": 0.5})
    fast.use("a")
    assert torch.equal(model(pictures()), expected)


def test_decay_reset_and_consolidate_change_the_context_in_use_alone() -> None:
    _, fast = small()
    fast.use("b")
    first, second = kept(fast, "default"), kept(fast, "a")
    fast.decay(0.5)
    fast.consolidate(0.5)
    fast.reset()
    assert all(map(torch.equal, kept(fast, "default"), first))
    assert all(map(torch.equal, kept(fast, "a"), second))
    fast.reset("a")
    assert all((delta == 0).all() for delta in fast.delta("a").values())
    assert fast.active == "b"


def test_who_trains_is_left_as_it_was() -> None:
    model, fast = small()
    norm: Any = model.get_submodule("norm")
    norm.weight.requires_grad_(True)
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    fast.use("b")
    fast.mix({"a": 1.0, "b": 1.0})
    with fast.disabled():
        pass
    fast.add_context("c")
    now = {name: p.requires_grad for name, p in model.named_parameters()}
    assert {name: now[name] for name in flags} == flags
    assert all(p.requires_grad for p in fast._parameters_of(["c"]))


def test_a_mixture_cannot_be_written() -> None:
    model, fast = small()
    fast.mix({"a": 0.5, "b": 0.5})
    for call in (fast.parameters, lambda: fast.decay(0.5), fast.reset, fast.consolidate):
        with pytest.raises(ContextError, match="a mixture of"):
            call()
    autoencoder = ViTAutoencoder(rank=2)
    weights: Any = autoencoder.fast_weights
    weights.add_context("b")
    weights.mix({"default": 1.0, "b": 1.0})
    with pytest.raises(ContextError, match="a mixture of"):
        GradientWrite().init(autoencoder, {}, seed=0)
    assert model(pictures()).isfinite().all()


def test_names_must_be_known_and_new_ones_unused() -> None:
    _, fast = small()
    with pytest.raises(UnknownContextError, match="no context is called 'nope': there are default"):
        fast.use("nope")
    with pytest.raises(ContextError, match="needs a new name"):
        fast.add_context("a")
    with pytest.raises(ContextError, match="needs a new name"):
        fast.add_context("a.b")
    with pytest.raises(ContextError, match="shares must be finite"):
        fast.mix({"a": float("nan")})
    with pytest.raises(ContextError, match="shares must be finite"):
        fast.mix({})
    fast.use("b")
    with pytest.raises(ContextError, match="is in use"):
        fast.remove("b")


def test_a_removed_context_is_gone_and_its_name_free() -> None:
    model, fast = small()
    expected = model(pictures())
    fast.remove("a")
    assert fast.contexts == ("default", "b")
    assert not any(".a." in name for name, _ in model.named_parameters())
    assert torch.equal(model(pictures()), expected)
    fast.add_context("a")
    assert all((delta == 0).all() for delta in fast.delta("a").values())


@pytest.mark.parametrize(
    "call",
    [
        lambda f: f.use("a"),
        lambda f: f.mix({"a": 1.0}),
        lambda f: f.add_context("c"),
        lambda f: f.remove("a"),
    ],
)
def test_contexts_stay_as_they_are_while_merged(call: Any) -> None:
    _, fast = small()
    with fast.merged(), pytest.raises(MergedStateError, match="while merged"):
        call(fast)
    assert fast.contexts == ("default", "a", "b")


def test_copies_are_independent_and_detaching_takes_all_contexts_away() -> None:
    model, fast = small()
    twin = copy.deepcopy(model)
    other: Any = twin.fast_weights
    other.use("b")
    assert fast.active == "default"
    assert not torch.equal(twin(pictures()), model(pictures()))
    with fast.disabled():
        slow = model(pictures())
    detach_fast_weights(model)
    assert torch.equal(model(pictures()), slow)
    assert not any("lora" in name for name, _ in model.named_parameters())
    attach_fast_weights(model)
