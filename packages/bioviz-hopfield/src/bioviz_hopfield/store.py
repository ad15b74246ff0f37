"""Memories that one writes to: `MemoryStore` has rows, `AssociativeMemory` is the one-liner."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from bioviz_hopfield import functional
from bioviz_hopfield.eviction import EVICTIONS, Eviction
from bioviz_hopfield.separations import SeparationName
from bioviz_hopfield.similarities import SimilarityName

UNLABELLED = -1
WriteRule = Literal["append", "prototype"]


class MemoryStore(nn.Module):
    """Rows of keys and values in preallocated tensors; `state_dict` holds all of it.

    `keys`, `values`, `labels`, `usage`, `written_at` and `write_count` show the rows in use. A
    store is a module so that it moves with the model that holds it; it has no parameters.
    """

    def __init__(
        self,
        capacity: int,
        *,
        key_dim: int,
        value_dim: int | None = None,
        eviction: Eviction = "error",
        dtype: torch.dtype = torch.float32,
        device: torch.device | str | None = None,
    ) -> None:
        super().__init__()
        value_dim = key_dim if value_dim is None else value_dim
        if min(capacity, key_dim, value_dim) < 1:
            raise ValueError(
                f"capacity, key_dim and value_dim must be at least 1, got {capacity}, {key_dim}, "
                f"{value_dim}"
            )
        if eviction not in EVICTIONS:
            raise ValueError(f"eviction must be one of {', '.join(EVICTIONS)}, got {eviction!r}")
        self.capacity, self.key_dim, self.value_dim = capacity, key_dim, value_dim
        self.eviction = eviction

        def whole(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        def real(*shape: int) -> Tensor:
            return torch.zeros(shape, dtype=dtype, device=device)

        self.register_buffer("key_rows", real(capacity, key_dim))
        self.register_buffer("value_rows", real(capacity, value_dim))
        self.register_buffer("label_rows", whole(capacity) + UNLABELLED)
        self.register_buffer("usage_rows", real(capacity))
        self.register_buffer("written_at_rows", whole(capacity))
        self.register_buffer("write_count_rows", whole(capacity))
        self.register_buffer("filled", whole())
        self.register_buffer("clock", whole())

    key_rows: Tensor
    value_rows: Tensor
    label_rows: Tensor
    usage_rows: Tensor
    written_at_rows: Tensor
    write_count_rows: Tensor
    filled: Tensor
    clock: Tensor

    @property
    def size(self) -> int:
        """Rows in use."""
        return int(self.filled)

    @property
    def keys(self) -> Tensor:
        """Keys in use, `(size, key_dim)`."""
        return self.key_rows[: self.size]

    @property
    def values(self) -> Tensor:
        """Values in use, `(size, value_dim)`."""
        return self.value_rows[: self.size]

    @property
    def labels(self) -> Tensor:
        """Labels in use; -1 where none was given."""
        return self.label_rows[: self.size]

    @property
    def usage(self) -> Tensor:
        """The weight that reads have put on each row."""
        return self.usage_rows[: self.size]

    @property
    def written_at(self) -> Tensor:
        """The number of the item that each row was written with."""
        return self.written_at_rows[: self.size]

    @property
    def age(self) -> Tensor:
        """Items seen since each row was written."""
        return self.clock - self.written_at

    @property
    def write_count(self) -> Tensor:
        """Items that each row is made of."""
        return self.write_count_rows[: self.size]

    @torch.no_grad()
    def write(
        self,
        keys: Tensor,
        values: Tensor | None = None,
        labels: Tensor | None = None,
        *,
        rule: WriteRule = "append",
        generator: torch.Generator | None = None,
    ) -> None:
        """Store `keys (B, key_dim)` with `values (B, value_dim)`, the keys themselves if None.

        `append` gives each its row, evicting where the store is full. `prototype` keeps one row per
        label, the mean of all keys and of all values written under it: the same, to rounding, for
        any split into batches and any order; a label absent from a batch is untouched.
        """
        values = keys if values is None else values
        self._check(keys, values, labels)
        keys, values = keys.to(self.key_rows), values.to(self.value_rows)
        if rule == "append":
            self._append(keys, values, labels, generator)
        elif rule == "prototype":
            if labels is None:
                raise ValueError("rule='prototype' keeps a mean per label: give labels")
            self._average(keys, values, labels, generator)
        else:
            raise ValueError(f"rule must be 'append' or 'prototype', got {rule!r}")

    def read(
        self,
        query: Tensor,
        *,
        beta: float,
        separation: SeparationName = "softmax",
        similarity: SimilarityName = "dot",
        count_usage: bool = False,
    ) -> Tensor:
        """The value that each query brings back; `count_usage` adds the weights to `usage`."""
        if not self.size:
            raise ValueError("the memory is empty: write to it first")
        keys, values = self.keys.to(query), self.values.to(query)
        how = {"beta": beta, "separation": separation, "similarity": similarity}
        if count_usage:
            with torch.no_grad():
                info = functional.retrieval_info(query, keys, **how, details=("weights",))  # type: ignore[arg-type]  # one dict for both calls
                assert info.weights is not None
                self.usage_rows[: self.size] += info.weights.reshape(-1, self.size).sum(0)
        return functional.retrieve(query, keys, values, **how)  # type: ignore[arg-type]  # as above

    def clear(self) -> None:
        """Forget everything."""
        for buffer in self.buffers():
            buffer.zero_()
        self.label_rows.fill_(UNLABELLED)

    def _check(self, keys: Tensor, values: Tensor, labels: Tensor | None) -> None:
        expected = ((len(keys), self.key_dim), (len(keys), self.value_dim))
        if (tuple(keys.shape), tuple(values.shape)) != expected:
            raise ValueError(
                f"keys and values must be {expected[0]} and {expected[1]}, got "
                f"{tuple(keys.shape)} and {tuple(values.shape)}"
            )
        if labels is not None and tuple(labels.shape) != (len(keys),):
            raise ValueError(f"labels must be ({len(keys)},), got {tuple(labels.shape)}")
        if labels is not None and bool((labels < 0).any()):
            raise ValueError(f"labels must not be negative, got {int(labels.min())}")
        if not bool(keys.isfinite().all() and values.isfinite().all()):
            raise ValueError("keys and values must be finite: NaN would spread to every query")

    def _append(
        self,
        keys: Tensor,
        values: Tensor,
        labels: Tensor | None,
        generator: torch.Generator | None,
    ) -> None:
        rows = [self._claim(generator) for _ in range(len(keys))]
        # A row claimed twice keeps its last item, so the batch is written in order.
        for item, row in enumerate(rows):
            if row is not None:
                self.key_rows[row] = keys[item]
                self.value_rows[row] = values[item]
                self.label_rows[row] = UNLABELLED if labels is None else labels[item]

    def _claim(self, generator: torch.Generator | None) -> int | None:
        """The row of the next item: a free one, or the one whose owner leaves."""
        row: int | None = self.size
        if row == self.capacity:
            row = EVICTIONS[self.eviction](self, generator)
        else:
            self.filled += 1
        if row is not None:
            self.written_at_rows[row] = self.clock
            self.write_count_rows[row] = 1
            self.usage_rows[row] = 0
        self.clock += 1
        return row

    def _average(
        self, keys: Tensor, values: Tensor, labels: Tensor, generator: torch.Generator | None
    ) -> None:
        labels = labels.to(self.label_rows)
        for label in torch.unique(labels):
            members = labels == label
            row = self._row_of(label, generator)
            if row is None:
                continue
            added = int(members.sum())
            self.write_count_rows[row] += added
            share = added / int(self.write_count_rows[row])
            self.key_rows[row] += share * (keys[members].mean(0) - self.key_rows[row])
            self.value_rows[row] += share * (values[members].mean(0) - self.value_rows[row])

    def _row_of(self, label: Tensor, generator: torch.Generator | None) -> int | None:
        found = (self.labels == label).nonzero()
        if len(found):
            return int(found[0])
        row = self._claim(generator)
        if row is not None:
            self.label_rows[row] = label
            self.write_count_rows[row] = 0
            self.key_rows[row] = 0
            self.value_rows[row] = 0
        return row


class AssociativeMemory:
    """Stored patterns `(M, D)` and how to bring them back: no training, no projections."""

    def __init__(
        self,
        patterns: Tensor,
        *,
        beta: float = 8.0,
        separation: SeparationName = "softmax",
        similarity: SimilarityName = "dot",
    ) -> None:
        self.patterns = patterns
        self.beta = beta
        self.separation: SeparationName = separation
        self.similarity: SimilarityName = similarity

    def retrieve(self, query: Tensor, *, steps: int = 1, tol: float | None = None) -> Tensor:
        """The pattern that each query brings back; `tol` iterates to the fixed point."""
        return functional.retrieve(
            query,
            self.patterns,
            beta=self.beta,
            separation=self.separation,
            similarity=self.similarity,
            steps=steps,
            tol=tol,
        )

    def energy(self, query: Tensor) -> Tensor:
        """The energy of each query; for dot products only."""
        if self.similarity != "dot":
            raise ValueError(f"the similarity {self.similarity!r} has no energy: use 'dot'")
        return functional.energy(query, self.patterns, beta=self.beta, separation=self.separation)
