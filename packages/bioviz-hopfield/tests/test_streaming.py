"""A memory that comes in pieces."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from bioviz_hopfield import retrieve, retrieve_stream


def test_a_memory_map_read_in_pieces_gives_what_the_whole_gives(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    np.save(tmp_path / "keys.npy", rng.normal(size=(1000, 8)))
    keys = np.load(tmp_path / "keys.npy", mmap_mode="r")
    # A copy of each slice: torch refuses to alias memory that cannot be written.
    pieces = [(np.array(keys[i : i + 64]),) * 2 for i in range(0, 1000, 64)]
    query = torch.from_numpy(rng.normal(size=(5, 8)))
    whole = retrieve(query, torch.from_numpy(np.array(keys)), beta=2.0, steps=2)
    streamed = retrieve_stream(query, pieces, beta=2.0, steps=2)
    assert torch.allclose(streamed, whole, rtol=1e-12, atol=1e-13)


def test_pieces_that_are_gone_after_one_pass_are_refused_for_two_steps() -> None:
    rows = torch.ones(3, 2)
    with pytest.raises(ValueError, match="give no iterator"):
        retrieve_stream(rows, iter([(rows, rows)]), beta=1.0, steps=2)
    assert retrieve_stream(rows, iter([(rows, rows)]), beta=1.0).shape == (3, 2)


def test_no_piece_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match="the memory is empty"):
        retrieve_stream(torch.ones(1, 2), [], beta=1.0)
