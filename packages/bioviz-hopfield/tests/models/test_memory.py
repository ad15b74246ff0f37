"""A memory over any model."""

from __future__ import annotations

import bioviz_core as bv
import pytest
import torch
from bioviz_core.bridge.torch import TorchModel, as_model
from bioviz_hopfield import HasMemory, Memory, retrieve
from torch import nn


class Net(TorchModel):
    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.drop, self.top = nn.Linear(6, 5), nn.Dropout(0.5), nn.Linear(5, 4)

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        return self.top(self.drop(self.hidden(inputs).relu()))


def filled(**options: object) -> Memory:
    model = Memory(num_classes=3, key_dim=6, **options)  # type: ignore[arg-type]
    inputs = torch.eye(6)
    return model.write(model.keys_for(inputs[:4]), torch.tensor([0, 2, 0, 2]))


def test_it_declares_its_capabilities() -> None:
    model = filled()
    assert isinstance(model, HasMemory)
    assert bv.missing(model, bv.Energetic) == ()
    assert bv.missing(model, bv.HasObjective) == ("objective",)


def test_a_class_that_was_never_written_is_never_predicted() -> None:
    model = filled()
    logits = model(torch.rand(20, 6))
    assert logits[:, 1].isneginf().all()
    assert not (model.predict(torch.rand(20, 6)) == 1).any()
    assert (Memory(num_classes=3, key_dim=6)(torch.rand(2, 6)) == 0).all()


def test_its_softmax_is_one_hopfield_read_of_the_labels() -> None:
    model, inputs = filled(), torch.rand(5, 6)
    store = model.store
    read = retrieve(inputs.double(), store.keys, store.values, beta=10.0, similarity="cosine")
    assert torch.allclose(model(inputs).softmax(-1).double(), read, atol=1e-6)


def test_equal_prototypes_give_the_lowest_label() -> None:
    model = Memory(num_classes=3, key_dim=2)
    model.write(torch.ones(2, 2), torch.tensor([2, 1]))
    assert model.predict(torch.ones(1, 2)).tolist() == [1]


@pytest.mark.parametrize("layer", [None, "hidden"])
def test_keys_come_from_the_layer_in_evaluation_mode(layer: str | None) -> None:
    base = Net()
    model = Memory(num_classes=3, key_dim=4, base=base, layer=layer).train()
    inputs = torch.rand(7, 6)
    expected = base.hidden(inputs) if layer else base.eval()(inputs)
    model.train()
    assert torch.equal(model.keys_for(inputs), expected)
    assert base.drop.training
    assert not any(p.requires_grad for p in model.parameters())
    with pytest.raises(ValueError, match="has no layer 'nope'"):
        Memory(num_classes=3, key_dim=4, base=base, layer="nope").keys_for(inputs)


def test_a_strangers_module_gets_a_memory_too() -> None:
    model = Memory(num_classes=3, key_dim=5, base=nn.Sequential(nn.Linear(6, 5)))
    assert list(model.activations(torch.rand(2, 6))) == ["base.0", "keys", "logits"]
    assert isinstance(model.base, type(as_model(nn.Sequential())))


def test_state_round_trip_is_exact_and_in_place() -> None:
    model, empty = filled(), Memory(num_classes=3, key_dim=6)
    inputs = torch.rand(9, 6)
    assert empty.with_state(model.state_tree()) is empty
    assert torch.equal(empty(inputs), model(inputs))


def test_an_update_of_the_query_never_raises_its_energy() -> None:
    model = filled()
    states = model.states(torch.rand(50, 6))
    prototypes = torch.nn.functional.normalize(model.store.keys, dim=-1).float()
    after = {"query": retrieve(states["query"], prototypes, beta=10.0)}
    before = model.energy(states)
    assert before.shape == (50,)
    assert (model.energy(after) <= before + 1e-6).all()
    empty = Memory(num_classes=3, key_dim=6)
    assert torch.allclose(empty.energy(states), torch.full((50,), 0.5))


def test_bad_options_are_refused() -> None:
    with pytest.raises(ValueError, match="of which base"):
        Memory(num_classes=3, key_dim=6, layer="x")
    with pytest.raises(ValueError, match="beta must be positive"):
        Memory(num_classes=3, key_dim=6, beta=0)
    with pytest.raises(ValueError, match="outside the 3 classes"):
        filled().write(torch.ones(1, 6), torch.tensor([3]))
