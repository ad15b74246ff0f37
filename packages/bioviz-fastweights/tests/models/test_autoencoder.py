"""The autoencoder."""

from __future__ import annotations

import bioviz_core as bv
import pytest
import timm
import torch
from bioviz_fastweights import ARCHITECTURES, FastWeighted, ViTAutoencoder, reconstruction_loss
from bioviz_fastweights.models.decoder import Decoder, patchify, unpatchify


def images(count: int = 2) -> torch.Tensor:
    return torch.rand(count, 3, 64, 64, generator=torch.Generator().manual_seed(0))


def test_unpatchify_undoes_patchify_on_any_grid() -> None:
    pictures = torch.rand(2, 3, 12, 20)
    rows = patchify(pictures, patch=(3, 5))
    assert rows.shape == (2, 16, 45)
    assert torch.equal(unpatchify(rows, grid=(4, 4), patch=(3, 5)), pictures)
    assert torch.equal(rows[0, 1], pictures[0, :, :3, 5:10].flatten())


def test_copies_are_images() -> None:
    copies = ViTAutoencoder()(images()).detach()
    assert copies.shape == (2, 3, 64, 64)
    assert 0 < float(copies.min()) < float(copies.max()) < 1


def test_the_loss_is_in_pixels() -> None:
    a, b = torch.full((2, 3, 4, 4), 0.5), torch.full((2, 3, 4, 4), 0.25)
    assert float(reconstruction_loss(a, b)) == pytest.approx(0.0625 + 0.1 * 0.25)
    model = ViTAutoencoder(objective="denoise")
    batch: bv.Batch = {"inputs": b, "targets": a}
    assert model.objective is not None
    assert model.objective.reads == ("targets",)
    assert float(model.objective.loss(a, batch)) == 0.0


def test_the_class_token_is_trained_only_where_the_decoder_reads_it() -> None:
    for reads, trained in (("patches", False), ("patches+cls", True), ("cls", True)):
        model = ViTAutoencoder(decoder_input=reads)  # type: ignore[arg-type]
        kept: list[torch.Tensor] = []
        model.encoder.norm.register_forward_hook(lambda m, i, out, kept=kept: kept.append(out))
        copies = model(images())
        (slope,) = torch.autograd.grad(copies.sum(), kept[0])
        assert bool((slope[:, 0] != 0).any()) is trained


def test_it_has_fast_weights_only_once_they_are_attached() -> None:
    assert bv.missing(ViTAutoencoder(), FastWeighted) == ("fast_parameters", "decay")
    model = bv.create("fastweights/vit-autoencoder", rank=2)
    assert bv.missing(model, FastWeighted) == ()
    assert bv.missing(model, bv.HasObjective) == ()
    model.decay(0.5)
    names = list(model.activations(images()))
    assert "encoder.blocks.0" in names
    assert names.index("encoder.blocks.0") < names.index("encoder.blocks.5")


def test_same_seed_same_model_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = ViTAutoencoder(seed=1), ViTAutoencoder(seed=1), ViTAutoencoder(seed=2)
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(first(images()), second(images()))
    assert not torch.equal(first(images()), other(images()))


def test_state_round_trip_is_exact_with_fast_weights() -> None:
    first, second = ViTAutoencoder(rank=2, seed=1), ViTAutoencoder(rank=2, seed=2)
    assert first.fast_weights is not None
    first.fast_weights.write(images(), steps=1)
    assert torch.equal(second.with_state(first.state_tree())(images()), first(images()))


def test_every_named_architecture_is_known_to_timm() -> None:
    for name, architecture in ARCHITECTURES.items():
        assert architecture.timm_name is None or timm.is_model(architecture.timm_name), name
    with pytest.raises(ValueError, match="no architecture is called"):
        ViTAutoencoder("huge")
    with pytest.raises(ValueError, match="objective must be"):
        ViTAutoencoder(objective="invert")  # type: ignore[arg-type]


def test_bad_decoder_inputs_are_refused() -> None:
    with pytest.raises(ValueError, match="decoder_input must be one of"):
        ViTAutoencoder(decoder_input="all")  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="needs a class token"):
        Decoder(4, grid=(2, 2), patch=(2, 2), prefix_tokens=0, reads="cls")
