"""Stores: what is written is what is there, whatever the batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from bioviz_hopfield import AssociativeMemory, MemoryFullError, MemoryStore, energy, retrieve
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from scipy.stats import chisquare


def rows(count: int, dim: int = 3, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(count, dim, dtype=torch.float64, generator=generator)


def store(capacity: int, **options: object) -> MemoryStore:
    return MemoryStore(capacity, key_dim=3, dtype=torch.float64, **options)  # type: ignore[arg-type]


def test_appended_rows_are_read_back_as_by_retrieve() -> None:
    memory, keys, values = MemoryStore(9, key_dim=3, value_dim=2), rows(5).float(), torch.rand(5, 2)
    memory.write(keys[:2], values[:2])
    memory.write(keys[2:], values[2:])
    assert memory.size == 5
    assert torch.equal(memory.read(keys, beta=3.0), retrieve(keys, keys, values, beta=3.0))


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 1000), cuts=st.lists(st.integers(1, 59), max_size=6, unique=True))
def test_prototypes_do_not_depend_on_batches_or_order(seed: int, cuts: list[int]) -> None:
    keys, labels = rows(60, seed=seed), torch.arange(60) % 7
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    memory = store(7)
    for part in np.split(order.numpy(), sorted(cuts)):
        memory.write(keys[part], labels=labels[part], rule="prototype")
    means = np.stack([keys[labels == c].mean(0).numpy() for c in range(7)])
    found = memory.keys[memory.labels.argsort()]
    assert np.abs(found.numpy() - means).max() < 1e-12
    assert (memory.write_count.sum()) == 60


def test_a_label_absent_from_a_batch_is_untouched() -> None:
    memory = store(3)
    memory.write(rows(4), labels=torch.tensor([0, 0, 1, 1]), rule="prototype")
    before = memory.keys[memory.labels == 0].clone()
    memory.write(rows(4, seed=1), labels=torch.tensor([1, 2, 1, 2]), rule="prototype")
    assert torch.equal(memory.keys[memory.labels == 0], before)


def test_state_dict_round_trip_is_exact(tmp_path: object) -> None:
    memory = store(4, eviction="fifo")
    memory.write(rows(6), labels=torch.arange(6))
    memory.read(rows(2, seed=3), beta=1.0, count_usage=True)
    path = f"{tmp_path}/store.safetensors"
    save_file(memory.state_dict(), path)
    copy = store(4, eviction="fifo")
    copy.load_state_dict(load_file(path))
    assert all(torch.equal(a, b) for a, b in zip(memory.buffers(), copy.buffers(), strict=True))
    assert copy.size == 4


def test_first_in_leaves_first() -> None:
    memory = store(3, eviction="fifo")
    memory.write(rows(5), labels=torch.arange(5))
    assert sorted(memory.labels.tolist()) == [2, 3, 4]
    assert sorted(memory.age.tolist()) == [1, 2, 3]


def test_the_least_read_leaves() -> None:
    memory = store(3, eviction="least_used")
    keys = 10 * torch.eye(3, dtype=torch.float64)
    memory.write(keys, labels=torch.arange(3))
    memory.read(keys[[0, 2]], beta=1.0, count_usage=True)
    memory.write(rows(1), labels=torch.tensor([9]))
    assert memory.labels.tolist() == [0, 9, 2]


def test_the_largest_class_gives_up_a_row() -> None:
    memory = store(4, eviction="class_balanced")
    memory.write(rows(4), labels=torch.tensor([0, 0, 0, 1]))
    generator = torch.Generator().manual_seed(0)
    memory.write(rows(2, seed=1), labels=torch.tensor([2, 2]), generator=generator)
    assert sorted(memory.labels.tolist())[-3:] == [1, 2, 2]


def test_a_full_store_refuses_by_default() -> None:
    memory = store(2)
    with pytest.raises(MemoryFullError, match="all 2 rows are taken"):
        memory.write(rows(3))


def test_a_reservoir_keeps_every_item_with_equal_probability() -> None:
    counts = np.zeros(20)
    generator = torch.Generator().manual_seed(0)
    for _ in range(400):
        memory = store(5, eviction="reservoir")
        memory.write(rows(20), labels=torch.arange(20), generator=generator)
        counts[memory.labels.numpy()] += 1
    # 19 degrees of freedom; inclusions are negatively dependent, so the statistic is conservative.
    assert chisquare(counts).pvalue > 1e-3


def test_same_generator_same_content() -> None:
    kept = []
    for _ in range(2):
        memory = store(5, eviction="reservoir")
        memory.write(rows(50), generator=torch.Generator().manual_seed(3))
        kept.append(memory.keys.clone())
    assert torch.equal(*kept)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda m: m.write(rows(2, 4)), "keys and values must be"),
        (lambda m: m.write(rows(2), rule="prototype"), "give labels"),
        (lambda m: m.write(rows(2), labels=torch.tensor([0, -1])), "must not be negative"),
        (lambda m: m.write(rows(2), labels=torch.zeros(3)), "labels must be"),
        (lambda m: m.write(rows(2) * torch.nan), "must be finite"),
        (lambda m: m.write(rows(2), rule="hebb"), "rule must be"),
        (lambda m: m.read(rows(2), beta=1.0), "the memory is empty"),
        (lambda m: MemoryStore(0, key_dim=2), "at least 1"),
        (lambda m: store(2, eviction="lifo"), "eviction must be one of"),
    ],
)
def test_bad_input_is_refused_with_the_rule(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(store(4))  # type: ignore[operator]


def test_clear_forgets_everything() -> None:
    memory = store(4)
    memory.write(rows(3), labels=torch.arange(3))
    memory.clear()
    assert memory.size == 0
    assert torch.equal(memory.label_rows, store(4).label_rows)


def test_an_associative_memory_retrieves_without_training() -> None:
    patterns = rows(6, 20)
    memory = AssociativeMemory(patterns, beta=8.0)
    noisy = patterns + 0.2 * rows(6, 20, seed=1)
    assert torch.allclose(memory.retrieve(noisy, steps=2), patterns, atol=1e-6)
    assert torch.equal(memory.energy(noisy), energy(noisy, patterns, beta=8.0))
    with pytest.raises(ValueError, match="has no energy"):
        AssociativeMemory(patterns, similarity="cosine").energy(noisy)
