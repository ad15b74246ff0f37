"""The life of fast weights, to the bit where that is promised."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from bioviz_core.errors import DivergedError
from bioviz_fastweights import FastWeights, MergedStateError, ViTAutoencoder
from torch import Tensor


def images(count: int = 2) -> Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


@torch.no_grad()
def written(dtype: torch.dtype = torch.float32) -> tuple[ViTAutoencoder, FastWeights]:
    """A model whose `B` are random inside their blocks."""
    model = ViTAutoencoder(rank=4).to(dtype)
    generator = torch.Generator().manual_seed(1)
    assert model.fast_weights is not None
    for _, b, _ in model.fast_weights.adapters("default"):
        b.weight.copy_(0.1 * torch.randn(b.weight.shape, generator=generator) * b.mask.cpu())
    return model, model.fast_weights


def slow_weights(model: ViTAutoencoder) -> dict[str, Tensor]:
    return {name: value for name, value in model.state_tree().items() if "lora_" not in name}


def same_bits(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# Certificate merge-reset-bits


@pytest.mark.slow
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_hundred_merges_leave_the_same_bits_where_subtracting_drifts(dtype: torch.dtype) -> None:
    model, fast = written(dtype)
    before, answers = slow_weights(model), model(images().to(dtype))
    for _ in range(100):
        with fast.merged():
            pass
    assert same_bits(slow_weights(model), before)
    assert torch.equal(model(images().to(dtype)), answers)
    # Teeth: adding and subtracting the delta, as is usual, does not come back.
    name = "encoder.blocks.0.attn.qkv"
    weight, delta = before[f"{name}.base_layer.weight"].clone(), fast.delta()[name].to(dtype)
    for _ in range(100):
        weight = weight + delta - delta
    assert not torch.equal(weight, before[f"{name}.base_layer.weight"])


def test_merged_answers_are_the_unmerged_ones() -> None:
    model, fast = written()
    expected = model(images())
    with fast.merged():
        found = model(images())
    assert torch.allclose(found, expected, rtol=1e-5, atol=1e-6)
    assert not torch.equal(expected, ViTAutoencoder()(images()))


def test_an_error_inside_merged_still_gives_the_weights_back() -> None:
    model, fast = written()
    before = slow_weights(model)
    with pytest.raises(KeyError), fast.merged():
        raise KeyError
    assert same_bits(slow_weights(model), before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_reset_and_disabled_give_the_slow_model_to_the_bit(dtype: torch.dtype) -> None:
    plain = ViTAutoencoder().to(dtype)(images().to(dtype))
    model, fast = written(dtype)
    flags = [p.requires_grad for p in model.parameters()]
    assert not torch.equal(model(images().to(dtype)), plain)
    with fast.disabled():
        assert torch.equal(model(images().to(dtype)), plain)
    assert [p.requires_grad for p in model.parameters()] == flags
    fast.reset()
    assert torch.equal(model(images().to(dtype)), plain)
    assert all((delta == 0).all() for delta in fast.delta().values())
    fresh = ViTAutoencoder(rank=4).to(dtype).fast_weights
    assert fresh is not None
    assert all(map(torch.equal, fast.parameters(), fresh.parameters()))


@pytest.mark.parametrize(
    "call",
    [
        lambda m, f: f.write(images()),
        lambda m, f: f.decay(0.5),
        lambda m, f: f.reset(),
        lambda m, f: f.consolidate(),
        lambda m, f: f.merged().__enter__(),
        lambda m, f: m.state_tree(),
        lambda m, f: m.with_state({}),
    ],
)
def test_nothing_is_changed_or_stored_while_merged(call: Any) -> None:
    model, fast = written()
    with fast.merged(), pytest.raises(MergedStateError, match="while merged"):
        call(model, fast)
    fast.decay(1.0)


# Certificate delta-algebra, as far as it goes here


def test_decay_scales_the_delta() -> None:
    _, fast = written()
    fast.model.double()
    start = fast.delta()
    fast.decay(0.5)
    fast.decay(0.5)
    fast.decay_over(2.0, tau=1 / 0.3)
    expected = 0.25 * torch.exp(torch.tensor(-0.6, dtype=torch.float64))
    for name, delta in fast.delta().items():
        assert torch.allclose(delta, expected * start[name], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="tau must be positive"):
        fast.decay_over(1.0, tau=0.0)
    with pytest.raises(ValueError, match="factor must be finite"):
        fast.decay(float("nan"))


@pytest.mark.parametrize("rate", [0.0, 0.3, 1.0])
def test_consolidating_moves_a_share_and_changes_no_answer(rate: float) -> None:
    model, fast = written()
    model.double()
    before, start, answers = slow_weights(model), fast.delta(), model(images().double())
    fast.consolidate(rate)
    assert torch.allclose(model(images().double()), answers, rtol=0, atol=1e-12)
    now = slow_weights(model)
    for name, delta in fast.delta().items():
        key = f"{name}.base_layer.weight"
        assert torch.allclose(now[key], before[key] + rate * start[name], rtol=0, atol=1e-12)
        assert torch.allclose(delta, (1 - rate) * start[name], rtol=0, atol=1e-12)
    with pytest.raises(ValueError, match="rate must be a share"):
        fast.consolidate(2.0)


def test_norms_are_those_of_the_dense_thirds() -> None:
    _, fast = written()
    name = "encoder.blocks.2.attn.qkv"
    delta = fast.delta()[name].double().chunk(3)[1]
    slow = fast.layers[name].get_base_layer().weight.detach().double().chunk(3)[1]
    found = fast.norms()[f"{name}.k"]
    assert found["frobenius"] == pytest.approx(float(delta.norm() / slow.norm()), rel=1e-5)
    spectral = torch.linalg.svdvals(delta)[0] / torch.linalg.svdvals(slow)[0]
    assert found["spectral"] == pytest.approx(float(spectral), rel=1e-4)


# Writing


def test_a_write_lowers_the_loss_and_touches_no_slow_weight() -> None:
    model = ViTAutoencoder(rank=4)
    assert model.fast_weights is not None
    before = slow_weights(model)
    report = model.fast_weights.write(images(), steps=4, lr=1e-3)
    assert len(report.losses) == 5
    assert report.loss_last < report.loss_first
    assert same_bits(slow_weights(model), before)


def test_arrays_are_written_as_tensors_are() -> None:
    first, second = (ViTAutoencoder(rank=2).fast_weights for _ in range(2))
    assert first is not None
    assert second is not None
    losses = first.write(images(), steps=2).losses, second.write(images().numpy(), steps=2).losses
    assert losses[0] == losses[1]


def test_a_write_that_diverges_is_undone() -> None:
    model, fast = written()
    before = [p.detach().clone() for p in fast.parameters()]
    with pytest.raises(DivergedError) as caught:
        fast.write(images() * torch.nan, steps=3)
    assert caught.value.step == 0
    assert all(map(torch.equal, fast.parameters(), before))
    assert model(images()).isfinite().all()
    with pytest.raises(ValueError, match="steps must be at least 1"):
        fast.write(images(), steps=0)
