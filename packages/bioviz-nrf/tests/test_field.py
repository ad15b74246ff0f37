"""The field's energy, against a slow reference and its own description."""

from __future__ import annotations

import bioviz_core as bv
import pytest
import torch
from bioviz_core.stimuli.embedded import digits
from bioviz_nrf import NRF, EnergyModel, ShapeError, from_energy
from torch import Tensor

MIXED = {
    "name": "mixed",
    "base_channels": 2,
    "layers": [{"shape": [1, 6, 6]}, {"shape": [3, 3, 3]}, {"shape": [2, 1, 1]}],
    "fields": {
        "0": {"main_kernel": 3, "from": {"1": {"conv": 5}, "2": "fc"}},
        "1": {"main_kernel": 1, "from": {"0": {"conv": 3}, "1": {"conv": 3}}},
        "2": {"from": {"1": "fc", "2": "fc"}},
    },
}


def images(count: int = 5) -> Tensor:
    return torch.from_numpy(digits().batch(range(count))["inputs"])


def states(model: NRF, count: int = 4, seed: int = 0) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dtype = next(model.parameters()).dtype
    return {
        name: torch.rand(count, *shape, generator=generator, dtype=dtype) * 2 - 1
        for name, shape in zip(model.names, model.config.layers, strict=True)
    }


def test_parameter_counts_of_the_thesis() -> None:
    model = NRF("cifar-4l-small")
    fields = [sum(p.numel() for p in field.parameters()) for field in model.fields]
    assert fields == [315_075, 232_288, 294_016, 147_325]
    assert sum(p.numel() for p in model.biases) == 38_013
    assert sum(p.numel() for p in model.parameters()) == 1_026_717


def test_energy_is_the_formula_unit_by_unit() -> None:
    model = NRF(MIXED).double().requires_grad_(False)
    s = states(model)
    every = list(s.values())
    total = 0.0
    chain = 2
    for layer, (state, bias, field) in enumerate(
        zip(every, model.biases, model.fields, strict=True)
    ):
        told = torch.zeros_like(state)
        if layer != 2:
            maps = []
            for j in field.convolved:
                read = field.bases[str(j)](every[j])
                side = state.shape[-1]
                # Nearest resizing, by hand: each target pixel takes the pixel it lies in.
                pick = torch.arange(side) * read.shape[-1] // side
                maps.append(torch.nn.functional.silu(read[..., pick, :][..., pick]))
            told = told + field.main(field.mix(torch.cat(maps, 1)))
        if field.connected:
            flat = torch.cat([every[j].flatten(1) for j in field.connected], 1)
            hidden = torch.nn.functional.silu(field.hidden(flat))
            told = told + field.spread(hidden).reshape(state.shape)
        for unit in range(state[chain].numel()):
            x = float(state[chain].flatten()[unit])
            total += x**2 / 2 - float(bias.flatten()[unit]) * x
            total -= x * float(told[chain].flatten()[unit]) / 2
    assert float(model.energy(s)[chain]) == pytest.approx(total, rel=1e-10)


def test_a_batch_of_chains_is_its_single_chains() -> None:
    model = NRF(MIXED).double().requires_grad_(False)
    s = states(model, count=8)
    together = model.energy(s)
    for chain in range(8):
        alone = model.energy({name: part[[chain]] for name, part in s.items()})
        assert float(alone) == pytest.approx(float(together[chain]), rel=1e-12)


def test_the_gradient_agrees_with_finite_differences() -> None:
    model = NRF(MIXED).double().requires_grad_(False)
    s = states(model, count=1)
    _, grad = from_energy(model.energy)(s)
    for name, part in s.items():
        bump = torch.zeros_like(part)
        bump.flatten()[0] = 1e-6
        high = model.energy(s | {name: part + bump})
        low = model.energy(s | {name: part - bump})
        slope = float(high - low) / 2e-6
        assert slope == pytest.approx(float(grad[name].flatten()[0]), rel=1e-6, abs=1e-8)


def test_the_clipping_of_rates_passes_gradients_on_the_walls() -> None:
    model = NRF(MIXED).double().requires_grad_(False)
    s = states(model, count=1)
    wall = s | {"latent2": torch.ones_like(s["latent2"])}
    near = s | {"latent2": torch.full_like(s["latent2"], 1 - 1e-9)}
    (_, on), (_, inside) = (from_energy(model.energy)(each) for each in (wall, near))
    assert torch.allclose(on["latent2"], inside["latent2"], atol=1e-6)


def test_images_are_mapped_to_the_box_and_back() -> None:
    model, pictures = NRF(), images()
    found = model.states(pictures)
    assert (float(found["image"].min()), float(found["image"].max())) == (-1.0, 1.0)
    assert torch.allclose(model.to_images(found["image"]), pictures, atol=1e-6)
    with pytest.raises(ShapeError, match="must lie in data_range"):
        model.states(pictures * 2)
    with pytest.raises(ShapeError, match="images must be"):
        model.states(pictures.flatten(1))
    with pytest.raises(ShapeError, match="states must be"):
        model.energy({"image": found["image"]})


def test_it_is_a_model_with_an_energy() -> None:
    model = bv.create("nrf/field", architecture="digits-2l", relax_steps=5)
    assert isinstance(model, EnergyModel)
    answers = model(images())
    assert list(answers) == list(model.activations(images())) == ["latent1"]
    assert answers["latent1"].shape == (5, 16, 8, 8)
    assert torch.equal(answers["latent1"], model(images())["latent1"])
    alone = model(images()[[3]])["latent1"][0]
    assert torch.allclose(answers["latent1"][3], alone, atol=1e-6)
    assert all(p.grad is None for p in model.parameters())


def test_the_descent_lowers_the_energy() -> None:
    model = NRF(relax_steps=50)
    start = model.states(images())
    end = start | model(images())
    assert (model.energy(end) < model.energy(start)).all()


def test_same_seed_same_field_and_the_global_generator_is_left_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    first, second, other = NRF(seed=1), NRF(seed=1), NRF(seed=2)
    assert torch.equal(torch.rand(3), expected)
    assert all(map(torch.equal, first.parameters(), second.parameters()))
    assert not all(map(torch.equal, first.parameters(), other.parameters()))


def test_state_round_trip_is_exact() -> None:
    first, second = NRF(seed=1), NRF(seed=2)
    second.with_state(first.state_tree())
    assert torch.equal(first(images())["latent1"], second(images())["latent1"])
