"""Chains that go on."""

from __future__ import annotations

import pytest
import torch
from bioviz_nrf import ReplayBuffer, ShapeError
from torch import Tensor


def fresh(count: int, value: float = 0.0) -> dict[str, Tensor]:
    return {"a": torch.full((count, 2), value), "b": torch.full((count, 1, 3), value)}


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_an_empty_buffer_gives_noise_and_what_is_put_back_comes_again() -> None:
    buffer = ReplayBuffer(fresh(1), capacity=10)
    chains, slots, share = buffer.sample(fresh(4, 7.0), keep=1.0, generator=generator())
    assert share == 1.0
    assert (chains["a"] == 7).all()
    buffer.commit({name: part + 1 for name, part in chains.items()}, slots)
    again, _, share = buffer.sample(fresh(4), keep=1.0, generator=generator())
    assert share == 0.0
    assert (again["a"] == 8).all()
    assert (again["b"] == 8).all()
    assert buffer.mean_age == 1.0


def test_it_fills_up_while_chains_begin_anew_and_then_replaces() -> None:
    buffer = ReplayBuffer(fresh(1), capacity=10)
    sizes = []
    for step in range(6):
        chains, slots, _ = buffer.sample(fresh(4), keep=0.0, generator=generator(step))
        assert len(slots.unique()) == 4
        buffer.commit(chains, slots)
        sizes.append(len(buffer))
    assert sizes == [4, 8, 10, 10, 10, 10]


def test_chains_begin_anew_with_the_probability_that_is_asked() -> None:
    buffer = ReplayBuffer(fresh(1), capacity=4000)
    buffer.sample(fresh(4000), keep=1.0, generator=generator())
    _, _, share = buffer.sample(fresh(4000), keep=0.95, generator=generator())
    # A binomial of 4000: standard error .0034.
    assert share == pytest.approx(0.05, abs=0.014)


def test_chains_that_are_no_numbers_are_not_kept() -> None:
    buffer = ReplayBuffer(fresh(1), capacity=4)
    chains, slots, _ = buffer.sample(fresh(4, 1.0), keep=1.0, generator=generator())
    chains["b"][2] = torch.nan
    buffer.commit({name: part * 2 for name, part in chains.items()}, slots)
    assert buffer.refused == 1
    assert sorted(buffer.slots["a"][:, 0].tolist()) == [1.0, 2.0, 2.0, 2.0]


def test_state_round_trip_goes_on_in_the_same_way() -> None:
    first, second = (ReplayBuffer(fresh(1), capacity=6) for _ in range(2))
    chains, slots, _ = first.sample(fresh(4, 3.0), keep=1.0, generator=generator())
    first.commit(chains, slots)
    second.load_state_dict(first.state_dict())
    for _ in range(3):
        a, b = (x.sample(fresh(5, 9.0), keep=0.5, generator=generator(1)) for x in (first, second))
        assert torch.equal(a[0]["a"], b[0]["a"])
        assert torch.equal(a[1], b[1])


def test_another_layout_is_refused_with_both() -> None:
    buffer = ReplayBuffer(fresh(1), capacity=6)
    with pytest.raises(ShapeError, match=r"\(6, 2\).*\(7, 2\)"):
        buffer.load_state_dict(ReplayBuffer(fresh(1), capacity=7).state_dict())
    with pytest.raises(ShapeError, match="holds chains of"):
        buffer.commit({"a": torch.zeros(1, 2)}, torch.zeros(1, dtype=torch.int64))
    with pytest.raises(ValueError, match="do not fit"):
        buffer.sample(fresh(7), keep=1.0, generator=generator())
    with pytest.raises(ValueError, match="capacity must be at least 1"):
        ReplayBuffer(fresh(1), capacity=0)
