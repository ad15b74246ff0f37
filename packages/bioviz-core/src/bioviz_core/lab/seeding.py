"""Named random streams: every draw of a run comes from its seed and the stream's name.

A stream is a hash of `(seed, names)`, so that adding one never shifts another.
"""

from __future__ import annotations

import hashlib
import json
from operator import index

import numpy as np

Name = str | int


def rng(seed: int, *stream: Name) -> np.random.Generator:
    """An independent NumPy generator for this stream."""
    return np.random.default_rng(_sequence(seed, stream))


def seed_for(seed: int, *stream: Name) -> int:
    """A seed for this stream: 32 bits, which torch, JAX and scikit-learn all accept."""
    return int(_sequence(seed, stream).generate_state(1)[0])


def _sequence(seed: int, stream: tuple[Name, ...]) -> np.random.SeedSequence:
    if seed < 0:
        raise ValueError(f"a seed must not be negative, got {seed}")
    # JSON keeps "1" and 1, and ("a", "b") and ("ab",), apart.
    names = json.dumps([name if isinstance(name, str) else index(name) for name in stream])
    words = np.frombuffer(hashlib.sha256(names.encode()).digest(), "<u4")
    return np.random.SeedSequence([index(seed), *words.tolist()])
