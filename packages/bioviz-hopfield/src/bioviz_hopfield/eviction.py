"""Who leaves a full store: each policy names the row that the next item takes, or None.

None means that the item itself is not kept. All randomness comes from the generator.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Literal

import torch

from bioviz_hopfield.errors import MemoryFullError

if TYPE_CHECKING:
    from bioviz_hopfield.store import MemoryStore

Evict = Callable[["MemoryStore", torch.Generator | None], int | None]
Eviction = Literal["error", "fifo", "least_used", "reservoir", "class_balanced"]


def refuse(store: MemoryStore, generator: torch.Generator | None) -> int | None:
    """Nobody leaves: `MemoryFullError`."""
    del generator
    raise MemoryFullError(
        f"all {store.capacity} rows are taken: raise capacity, or choose another eviction"
    )


def oldest(store: MemoryStore, generator: torch.Generator | None) -> int | None:
    """The row that was written first."""
    del generator
    return int(store.written_at.argmin())


def least_used(store: MemoryStore, generator: torch.Generator | None) -> int | None:
    """The row that reads put the least weight on, the oldest of equals."""
    del generator
    fewest = store.usage == store.usage.min()
    times = store.written_at.masked_fill(~fewest, torch.iinfo(torch.int64).max)
    return int(times.argmin())


def reservoir(store: MemoryStore, generator: torch.Generator | None) -> int | None:
    """A random row with probability `capacity / n` for the n-th item, so all items are equal."""
    seen = int(store.clock) + 1
    draw = int(torch.randint(seen, (), generator=generator))
    return draw if draw < store.capacity else None


def class_balanced(store: MemoryStore, generator: torch.Generator | None) -> int | None:
    """A random row of the largest class, the lowest label of equals."""
    # Unlabelled rows, -1, count as a class of their own.
    counts = torch.bincount(store.labels + 1)
    rows = (store.labels + 1 == counts.argmax()).nonzero().flatten()
    return int(rows[int(torch.randint(len(rows), (), generator=generator))])


EVICTIONS: dict[str, Evict] = {
    "error": refuse,
    "fifo": oldest,
    "least_used": least_used,
    "reservoir": reservoir,
    "class_balanced": class_balanced,
}
