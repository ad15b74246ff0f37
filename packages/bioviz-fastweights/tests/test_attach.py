"""Attaching changes nothing, and detaching gives everything back."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from bioviz_fastweights import AttachError, ViTAutoencoder, attach_fast_weights, detach_fast_weights
from peft import (
    LoraConfig,
    get_peft_model_state_dict,
    inject_adapter_in_model,
    set_peft_model_state_dict,
)
from peft.tuners.lora import LoraLayer
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn


def images(count: int = 2, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(0)
    return torch.rand(count, 3, 64, 64, generator=generator).to(dtype)


def small(**options: Any) -> VisionTransformer:
    options = {
        "img_size": 16,
        "patch_size": 8,
        "embed_dim": 12,
        "depth": 2,
        "num_heads": 2,
    } | options
    return VisionTransformer(**options, num_classes=0, global_pool="")


@torch.no_grad()
def fill(fast: Any, seed: int = 1) -> None:
    """Random `B` inside the blocks, as training would leave them."""
    generator = torch.Generator().manual_seed(seed)
    for _, b, _ in fast.adapters(fast.active):
        b.weight.copy_(torch.randn(b.weight.shape, generator=generator) * b.mask.cpu())


# Certificate attach-is-identity


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("share_a", [True, False])
def test_outputs_are_the_same_bits_after_attaching(
    dtype: torch.dtype, training: bool, share_a: bool
) -> None:
    model = ViTAutoencoder().to(dtype).train(training)
    before = model(images(dtype=dtype))
    attach_fast_weights(model, share_a=share_a)
    assert torch.equal(model(images(dtype=dtype)), before)


def test_detaching_gives_back_the_layers_the_weights_and_the_flags() -> None:
    model = ViTAutoencoder()
    model.decoder.norm.requires_grad_(False)
    before = {name: (id(module), type(module)) for name, module in model.named_modules()}
    state = model.state_tree()
    flags = {name: p.requires_grad for name, p in model.named_parameters()}
    fast = attach_fast_weights(model)
    fill(fast)
    assert not torch.equal(model(images()), ViTAutoencoder()(images()))
    detach_fast_weights(model)
    assert {name: (id(m), type(m)) for name, m in model.named_modules()} == before
    assert {name: p.requires_grad for name, p in model.named_parameters()} == flags
    assert all(torch.equal(state[name], value) for name, value in model.state_tree().items())
    with pytest.raises(AttachError, match="no fast weights to detach"):
        detach_fast_weights(model)
    attach_fast_weights(model)


# What a delta is


@pytest.mark.parametrize("projections", ["qkv", "q", "kv"])
@pytest.mark.parametrize("share_a", [True, False])
def test_the_delta_is_scaled_b_times_a_for_each_projection(projections: str, share_a: bool) -> None:
    model = small().double()
    fast = attach_fast_weights(
        model, rank=3, alpha=5.0, projections=tuple(projections), share_a=share_a
    )
    fill(fast)
    layer: Any = fast.layers["blocks.0.attn.qkv"]
    a, b = layer.lora_A["default"].weight.double(), layer.lora_B["default"].weight.double()
    expected = torch.zeros(36, 12, dtype=torch.float64)
    block = 0
    for place, name in enumerate("qkv"):
        if name in projections:
            rows = slice(12 * place, 12 * place + 12)
            columns = slice(None) if share_a else slice(3 * block, 3 * block + 3)
            expected[rows] = 5.0 / 3 * b[rows, columns] @ a[columns]
            block += 1
    found = fast.delta()["blocks.0.attn.qkv"].double()
    assert torch.allclose(found, expected, atol=1e-12)
    x = torch.randn(4, 12, dtype=torch.float64)
    slow = layer.get_base_layer()
    assert torch.allclose(layer(x), slow(x) + x @ expected.T, atol=1e-6)


def test_one_masked_adapter_learns_as_three_separate_ones() -> None:
    """Twenty steps of AdamW: against plain layers, one per projection, and no peft at all."""
    torch.manual_seed(0)
    slow = nn.Linear(12, 36)

    class Holder(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv = slow

        def forward(self, x: Tensor) -> Tensor:
            return self.qkv(x)

    model = Holder()
    fast = attach_fast_weights(model, rank=2)
    start = fast.parameters()[0].detach().clone()
    separate = [(nn.Parameter(start[i : i + 2].clone()), nn.Parameter(torch.zeros(12, 2)))
                for i in (0, 2, 4)]  # fmt: skip
    x, target = torch.randn(30, 12), torch.randn(30, 36)
    ours = torch.optim.AdamW(fast.parameters(), lr=1e-2)
    theirs = torch.optim.AdamW([p for pair in separate for p in pair], lr=1e-2)
    for _ in range(20):
        ours.zero_grad()
        (model(x) - target).square().mean().backward()
        ours.step()
        theirs.zero_grad()
        read = torch.cat([4.0 * x @ a.T @ b.T for a, b in separate], dim=1)
        (slow(x) + read - target).square().mean().backward()
        theirs.step()
    dense = torch.cat([4.0 * b @ a for a, b in separate]).detach()
    assert torch.allclose(fast.delta()["qkv"], dense, atol=1e-5)
    b = model.qkv.lora_B["default"]  # type: ignore[union-attr,index,operator]
    assert (b.weight[b.mask == 0] == 0).all()
    assert dense.norm() > 0.1


def test_plain_peft_reads_what_was_written() -> None:
    model = ViTAutoencoder()
    fast = attach_fast_weights(model, rank=2)
    fill(fast)
    saved = get_peft_model_state_dict(model, model.state_dict())
    assert set(saved) == {
        f"{name}.lora_{part}.weight" for name in fast.layers for part in ("A", "B")
    }
    config = LoraConfig(r=6, lora_alpha=24, target_modules=list(fast.layers))
    plain = inject_adapter_in_model(config, ViTAutoencoder())
    set_peft_model_state_dict(plain, saved)
    assert torch.allclose(plain(images()), model(images()), atol=1e-6)
    assert not torch.allclose(plain(images()), ViTAutoencoder()(images()), atol=1e-4)


def test_layers_and_seeds_are_chosen() -> None:
    model, other, same = small(), small(), small()
    fast = attach_fast_weights(model, rank=2, layers=[1], seed=3)
    assert list(fast.layers) == ["blocks.1.attn.qkv"]
    drawn = fast.parameters()[0]
    assert torch.equal(drawn, attach_fast_weights(same, rank=2, layers=[1], seed=3).parameters()[0])
    assert not torch.equal(drawn, attach_fast_weights(other, rank=2, layers=[1]).parameters()[0])


def test_attaching_leaves_the_global_generator_alone() -> None:
    model = small()
    torch.manual_seed(4)
    expected = torch.rand(3)
    torch.manual_seed(4)
    attach_fast_weights(model)
    assert torch.equal(torch.rand(3), expected)


def test_only_the_fast_weights_are_trainable() -> None:
    model = small()
    fast = attach_fast_weights(model)
    trainable = [p for p in model.parameters() if p.requires_grad]
    assert {id(p) for p in trainable} == {id(p) for p in fast.parameters()}


def test_a_deep_copy_is_independent() -> None:
    model = ViTAutoencoder(rank=2)
    twin = copy.deepcopy(model)
    before = model(images())
    assert twin.fast_weights is not model.fast_weights
    assert twin.fast_weights is not None
    fill(twin.fast_weights)
    assert torch.equal(model(images()), before)
    assert not torch.equal(twin(images()), before)
    assert twin.fast_weights.model is twin
    twin(images()).sum().backward()
    (_, b, _), *_ = twin.fast_weights.adapters("default")
    assert (b.weight.grad[b.mask == 0] == 0).all()


def test_registers_and_other_grids_work() -> None:
    model = small(reg_tokens=2, img_size=(16, 32))
    fast = attach_fast_weights(model, rank=2)
    fill(fast)
    assert model(torch.rand(2, 3, 16, 32)).shape == (2, 3 + 8, 12)
    assert all(isinstance(layer, LoraLayer) for layer in fast.layers.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rank": 0}, "rank must be at least 1"),
        ({"rank": 13}, "rank 13 is above 12"),
        ({"projections": ("x",)}, "projections must be some of"),
        ({"projections": ()}, "projections must be some of"),
        ({"layers": [2]}, "outside 0 to 1"),
    ],
)
def test_what_does_not_fit_is_refused_with_the_bound(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AttachError, match=message):
        attach_fast_weights(small(), **options)


def test_a_model_without_fused_attention_is_refused_with_what_it_has() -> None:
    with pytest.raises(AttachError, match="linear layers are \\['0'\\]"):
        attach_fast_weights(nn.Sequential(nn.Linear(2, 2)))
    model = small()
    attach_fast_weights(model)
    with pytest.raises(AttachError, match="fast weights already"):
        attach_fast_weights(model)
