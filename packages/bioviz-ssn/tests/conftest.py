"""What these tests share: the oracle arrays, and float64."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import jax
import numpy as np
import pytest


@pytest.fixture(scope="session")
def reference() -> dict[str, np.ndarray]:
    """The arrays of the published code, evaluated in float64 with 4000 Euler steps."""
    folder = os.environ.get("BIOVIZ_REFERENCE")
    if not folder:
        pytest.skip("set BIOVIZ_REFERENCE to the folder of the oracle arrays")
    with np.load(Path(folder) / "ssn_reference.npz", allow_pickle=False) as file:
        return dict(file)


@pytest.fixture
def x64() -> Iterator[None]:
    """float64 for one test."""
    with jax.enable_x64(True):
        yield
