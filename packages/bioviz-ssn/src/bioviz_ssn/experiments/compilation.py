"""Compiling for a short run."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import jax

_FLAG = "jax_disable_most_optimizations"


@contextmanager
def fast(wanted: bool) -> Iterator[None]:
    """XLA without most optimizations: it compiles in half the time and runs at a quarter speed."""
    before = jax.config.values[_FLAG]
    jax.config.update(_FLAG, wanted or before)  # type: ignore[no-untyped-call]  # JAX's own
    try:
        yield
    finally:
        jax.config.update(_FLAG, before)  # type: ignore[no-untyped-call]  # JAX's own
