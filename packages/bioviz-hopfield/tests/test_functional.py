"""Retrieval: against explicit formulas, the reference arrays, and what is proved of it."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
import torch
from bioviz_hopfield.errors import NotConvergedWarning
from bioviz_hopfield.functional import energy, retrieval_info, retrieve
from bioviz_hopfield.separations import SEPARATIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn.functional import layer_norm, linear, normalize, scaled_dot_product_attention

CASES = ("separated", "metastable", "global_mean", "binary_denoise", "slow")


@pytest.fixture(scope="module")
def reference() -> dict[str, np.ndarray]:
    folder = os.environ.get("BIOVIZ_REFERENCE")
    if not folder:
        pytest.skip("BIOVIZ_REFERENCE names no folder: the reference arrays are not installed")
    with np.load(Path(folder) / "hopfield_reference.npz", allow_pickle=False) as arrays:
        return dict(arrays)


def draw(*shape: int, seed: int = 0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, dtype=torch.float64, generator=generator)


def by_hand(query: Tensor, keys: Tensor, values: Tensor, beta: float) -> Tensor:
    return torch.softmax(beta * query @ keys.mT, -1) @ values


# Retrieval is attention


def test_one_step_is_explicit_softmax_attention() -> None:
    query, keys, values = draw(7, 5), draw(11, 5, seed=1), draw(11, 3, seed=2)
    expected = by_hand(query, keys, values, 0.7)
    assert (retrieve(query, keys, values, beta=0.7) - expected).abs().max() < 1e-12
    fused = scaled_dot_product_attention(query, keys, values, scale=0.7)
    assert (retrieve(query, keys, values, beta=0.7) - fused).abs().max() < 1e-12


@pytest.mark.parametrize("size", [1, 3, 11, 50])
@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean", "manhattan"])
def test_any_chunking_gives_the_same(size: int, similarity: str) -> None:
    query, keys, values = draw(7, 5), draw(11, 5, seed=1), draw(11, 3, seed=2)
    how = {"beta": 2.0, "steps": 3, "similarity": similarity}
    whole = retrieve(query, keys, values, **how)
    assert torch.allclose(retrieve(query, keys, values, chunk_size=size, **how), whole, atol=1e-13)


@pytest.mark.parametrize("chunk_size", [None, 2])
def test_a_mask_is_the_same_as_deleting_rows(chunk_size: int | None) -> None:
    query, keys = draw(7, 5), draw(11, 5, seed=1)
    mask = torch.tensor([False, False, True, False, True, True, True, False, True, True, False])
    masked = retrieve(query, keys, beta=0.7, key_mask=mask, chunk_size=chunk_size)
    assert torch.allclose(masked, retrieve(query, keys[mask], beta=0.7), atol=1e-14)
    assert torch.allclose(
        energy(query, keys, beta=0.7, key_mask=mask), energy(query, keys[mask], beta=0.7)
    )


@pytest.mark.parametrize(
    ("separation", "chunk_size"),
    [("softmax", None), ("softmax", 3), ("entmax15", None), ("sparsemax", None), ("max", None)],
)
def test_a_fully_masked_query_reads_zeros_and_has_no_nan(
    separation: str, chunk_size: int | None
) -> None:
    query, keys = draw(2, 4, 5).requires_grad_(), draw(2, 6, 5, seed=1)
    mask = torch.tensor([[True] * 6, [False] * 6])
    how = {"beta": 1.0, "separation": separation, "key_mask": mask, "chunk_size": chunk_size}
    info = retrieval_info(query, keys, details=("weights", "k90"), **how)
    assert (info.output[1] == 0).all()
    assert info.converged[1].all()
    assert info.lse[1].isneginf().all()
    assert (info.k90[1] == 0).all()
    if separation != "max":  # the best score alone is a step function: it has no gradient
        retrieve(query, keys, **how).sum().backward()
        assert query.grad.isfinite().all()


def test_batch_axes_are_folded_and_heads_keep_their_own_memory() -> None:
    query, keys = draw(2, 3, 4, 6, 5), draw(4, 9, 5, seed=1)
    beta = torch.tensor([0.1, 0.5, 1.0, 3.0], dtype=torch.float64)
    together = retrieve(query, keys, beta=beta, steps=2)
    for head in range(4):
        alone = retrieve(query[:, :, head], keys[head], beta=float(beta[head]), steps=2)
        assert torch.allclose(together[:, :, head], alone, atol=1e-14)
    info = retrieval_info(query, keys, beta=beta, details=("weights",))
    assert info.weights.shape == (2, 3, 4, 6, 9)
    assert info.energy.shape == (2, 3, 4, 6)
    assert retrieve(query[0, 0, 0, 0], keys[0], beta=1.0).shape == (5,)


@pytest.mark.parametrize("tol", [None, 1e-10])
def test_batch_mates_change_nothing(tol: float | None) -> None:
    query, keys = draw(9, 5), draw(11, 5, seed=1)
    together = retrieve(query, keys, beta=0.6, tol=tol, max_steps=2000)
    for row in range(9):
        alone = retrieve(query[row], keys, beta=0.6, tol=tol, max_steps=2000)
        assert (together[row] - alone).abs().max() < 1e-12


def test_permuting_rows_changes_nothing_and_permuting_queries_permutes() -> None:
    query, keys = draw(9, 5), draw(11, 5, seed=1)
    order, rows = torch.randperm(9), torch.randperm(11)
    expected = retrieve(query, keys, beta=0.6, steps=3)
    assert torch.allclose(retrieve(query[order], keys[rows], beta=0.6, steps=3), expected[order])


def test_nan_in_a_query_stays_in_its_row() -> None:
    query, keys = draw(4, 5), draw(11, 5, seed=1)
    clean = retrieve(query, keys, beta=1.0)
    query[2, 0] = torch.nan
    out = retrieve(query, keys, beta=1.0)
    assert out[2].isnan().all()
    assert torch.equal(out[[0, 1, 3]], clean[[0, 1, 3]])


# Limits


def test_small_beta_gives_the_mean_and_large_beta_the_nearest() -> None:
    query, keys = draw(6, 5), draw(11, 5, seed=1)
    mean = retrieve(query, keys, beta=1e-12)
    assert torch.allclose(mean, keys.mean(0).expand(6, 5), atol=1e-10)
    nearest = keys[(query @ keys.mT).argmax(-1)]
    assert torch.allclose(retrieve(query, keys, beta=1e4), nearest)
    assert torch.equal(retrieve(query, keys, beta=1.0, separation="max"), nearest)


def test_duplicates_share_their_weight() -> None:
    keys = draw(4, 5)
    info = retrieval_info(keys[:1], torch.cat([keys, keys[:1]]), beta=9.0, details=("weights",))
    assert torch.allclose(info.weights[0, 0], info.weights[0, 4])


def test_steps_count_state_updates_and_values_are_read_last() -> None:
    query, keys, values = draw(3, 5), draw(11, 5, seed=1), draw(11, 2, seed=2)
    assert torch.equal(retrieve(query, keys, beta=0.8, steps=0), query)
    twice = by_hand(by_hand(query, keys, keys, 0.8), keys, values, 0.8)
    assert torch.allclose(retrieve(query, keys, values, beta=0.8, steps=2), twice)
    info = retrieval_info(query, keys, values, beta=0.8, steps=2)
    assert (info.steps == 1).all()
    assert torch.allclose(info.state, by_hand(query, keys, keys, 0.8))


def test_half_precision_is_computed_in_float32_and_given_back() -> None:
    query, keys = draw(3, 64).bfloat16(), draw(11, 64, seed=1).bfloat16()
    out = retrieve(query, keys, beta=0.3)
    assert out.dtype == torch.bfloat16
    assert torch.equal(out, retrieve(query.float(), keys.float(), beta=0.3).bfloat16())


def test_unnormalized_weights_are_tip_adapters() -> None:
    features, keys = normalize(draw(5, 8), dim=-1), normalize(draw(9, 8, seed=1), dim=-1)
    labels = torch.nn.functional.one_hot(torch.arange(9) % 3, 3).double()
    expected = torch.exp(-5.5 * (1 - features @ keys.mT)) @ labels
    out = retrieve(features, keys, labels, beta=5.5, similarity="cosine", normalize_weights=False)
    assert torch.allclose(out, expected)


# Energy


@settings(max_examples=60, deadline=None)
@given(
    separation=st.sampled_from(["softmax", "entmax15", "sparsemax"]),
    seed=st.integers(0, 10_000),
    log_beta=st.floats(-2, 2),
    size=st.tuples(st.integers(1, 40), st.integers(1, 30)),
)
def test_energy_never_rises_and_stays_in_its_bounds(
    separation: str, seed: int, log_beta: float, size: tuple[int, int]
) -> None:
    rows, dim = size
    keys, beta = draw(rows, dim, seed=seed), 10.0**log_beta
    largest = keys.norm(dim=-1).max()
    query = draw(50, dim, seed=seed + 1)
    query = query * (largest / query.norm(dim=-1, keepdim=True).clamp_min(largest))
    before = energy(query, keys, beta=beta, separation=separation)
    after = energy(
        retrieve(query, keys, beta=beta, separation=separation),
        keys, beta=beta, separation=separation,
    )  # fmt: skip
    slack = 1e-10 * (1 + before.abs())
    assert (after - before <= slack).all()
    assert (before >= -slack).all()
    assert (before <= 2 * largest**2 + slack).all()


@pytest.mark.parametrize("separation", ["softmax", "entmax15", "sparsemax"])
def test_the_gradient_of_the_energy_is_the_query_minus_its_update(separation: str) -> None:
    query, keys = draw(6, 5).requires_grad_(), draw(11, 5, seed=1)
    total = energy(query, keys, beta=0.9, separation=separation).sum()
    (slope,) = torch.autograd.grad(total, query)
    update = retrieve(query, keys, beta=0.9, separation=separation)
    assert torch.allclose(slope, query - update, atol=1e-12)


def test_energy_without_constants_differs_by_the_constants() -> None:
    query, keys = draw(3, 5), draw(11, 5, seed=1)
    difference = energy(query, keys, beta=2.0) - energy(query, keys, beta=2.0, constants=False)
    expected = np.log(11) / 2 + keys.norm(dim=-1).max() ** 2 / 2
    assert torch.allclose(difference, expected.expand(3))


# Sparse retrieval is exact


@pytest.mark.parametrize("separation", ["entmax15", "sparsemax"])
def test_a_lead_of_the_margin_brings_one_pattern_back_exactly(separation: str) -> None:
    keys = draw(30, 40)
    products = keys @ keys.mT
    lead = products.diagonal() - (products - torch.diag(torch.full((30,), torch.inf))).amax(-1)
    assert (lead > 0).all()
    beta = SEPARATIONS[separation].margin / float(lead.min()) * 1.001
    assert torch.equal(retrieve(keys, keys, beta=beta, separation=separation), keys)
    # Teeth: softmax at the same beta is never exact.
    assert (retrieve(keys, keys, beta=beta) != keys).any(-1).all()


# Gradients


@pytest.mark.parametrize("separation", ["softmax", "entmax15", "sparsemax"])
@pytest.mark.parametrize("similarity", ["dot", "cosine", "euclidean", "manhattan"])
def test_gradients_reach_query_keys_values_and_beta(separation: str, similarity: str) -> None:
    beta = torch.tensor(0.8, dtype=torch.float64)

    def read(query: Tensor, keys: Tensor, values: Tensor, beta: Tensor) -> Tensor:
        how = {"beta": beta, "separation": separation, "similarity": similarity}
        return retrieve(query, keys, values, steps=2, **how)

    inputs = (draw(2, 3), draw(5, 3, seed=1), draw(5, 2, seed=2), beta)
    assert torch.autograd.gradcheck(read, tuple(t.requires_grad_() for t in inputs))


# Reference arrays


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_reference_cases(reference: dict[str, np.ndarray], case: str, dtype: torch.dtype) -> None:
    """One step, fixed point, energies, updates and k90 of an independent implementation."""

    def load(name: str) -> Tensor:
        return torch.from_numpy(reference[f"{case}/{name}"])

    stored, state, beta = load("stored"), load("state"), float(load("beta"))
    double = dtype == torch.float64
    close = {"rtol": 1e-7, "atol": 1e-8 if case == "slow" else 1e-9}
    close = close if double else {"rtol": 2e-4, "atol": 2e-4}
    stored, state = stored.to(dtype), state.to(dtype)
    one = retrieve(state, stored, beta=beta)
    torch.testing.assert_close(one, load("one_step").to(dtype), **close)
    if not double:
        return
    info = retrieval_info(state, stored, beta=beta, tol=1e-12, max_steps=500, details=("k90",))
    torch.testing.assert_close(info.output, load("converged"), **close)
    torch.testing.assert_close(info.energy, load("energy_final"), **close)
    assert torch.equal(info.k90.int(), load("k90"))
    now = state
    for expected in load("energy"):
        torch.testing.assert_close(energy(now, stored, beta=beta), expected, **close)
        now = retrieve(now, stored, beta=beta)
    assert torch.equal(retrieve(state, stored, beta=beta, steps=1), one)


@pytest.mark.parametrize("case", CASES)
def test_reference_number_of_updates(reference: dict[str, np.ndarray], case: str) -> None:
    stored, state = (torch.from_numpy(reference[f"{case}/{n}"]) for n in ("stored", "state"))
    counts = []
    for row in state:
        # The reference stops on the plain distance; ours is relative, hence the rescaled bound.
        size = 1 + retrieve(row, stored, beta=float(reference[f"{case}/beta"]), steps=400).norm()
        info = retrieval_info(
            row, stored, beta=float(reference[f"{case}/beta"]), tol=float(1e-10 / size),
            max_steps=500,
        )  # fmt: skip
        counts.append(int(info.steps))
    assert np.abs(np.array(counts) - reference[f"{case}/n_updates"]).max() <= 1


@pytest.mark.parametrize(("steps", "updates"), [("out_steps0", 1), ("out_steps3", 4)])
def test_reference_four_heads_with_a_padding_mask(
    reference: dict[str, np.ndarray], steps: str, updates: int
) -> None:
    """The published layer, put together from one `retrieve`: four heads, two padded memories."""
    p = {k: torch.from_numpy(v) for k, v in reference.items() if k.startswith("mha/")}
    core = "mha/param/association_core."

    def normed(x: Tensor, name: str) -> Tensor:
        weight, bias = p[f"mha/param/{name}.weight"], p[f"mha/param/{name}.bias"]
        return layer_norm(x, x.shape[-1:], weight, bias)

    def heads(x: Tensor) -> Tensor:
        return x.unflatten(-1, (4, -1)).movedim(-2, -3)

    bias = p[f"{core}in_proj_bias"]
    stored = normed(p["mha/stored"], "norm_stored_pattern")
    state = normed(p["mha/state"], "norm_state_pattern")
    content = normed(p["mha/stored"], "norm_pattern_projection")
    query = heads(linear(state, p[f"{core}q_proj_weight"], bias[:24]))
    keys = heads(linear(stored, p[f"{core}k_proj_weight"], bias[24:48]))
    values = heads(linear(content, p[f"{core}v_proj_weight"], bias[48:]))
    mask = ~p["mha/padding_mask"][:, None, :]
    read = retrieve(query, keys, values, beta=float(p["mha/beta"]), steps=updates, key_mask=mask)
    out = linear(
        read.movedim(-3, -2).flatten(-2), p[f"{core}out_proj.weight"], p[f"{core}out_proj.bias"]
    )
    torch.testing.assert_close(out, p[f"mha/{steps}"], rtol=1e-7, atol=1e-9)


# Bad input


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"beta": 0.0}, "beta must be positive"),
        ({"beta": float("nan")}, "beta must be positive"),
        ({"beta": torch.ones(3)}, "beta must be a number"),
        ({"keys": torch.zeros(0, 5)}, "at least one row"),
        ({"keys": torch.zeros(4, 6)}, "differ in their last axis"),
        ({"keys": torch.zeros(2, 4, 5)}, "leading axes"),
        ({"values": torch.zeros(3, 5)}, "one row for each"),
        ({"separation": "hard"}, "separation must be one of"),
        ({"similarity": "near"}, "similarity must be one of"),
        ({"steps": -1}, "steps must be"),
        ({"tol": 0.0}, "tol must be positive"),
        ({"key_mask": torch.ones(4)}, "must be bool"),
        ({"key_mask": torch.ones(3, dtype=torch.bool)}, "does not fit"),
        ({"chunk_size": 0}, "chunk_size=0"),
        ({"chunk_size": 2, "separation": "sparsemax"}, "chunk_size=2"),
        ({"normalize_weights": False, "separation": "sparsemax"}, "only softmax"),
        ({"steps": 0, "values": torch.zeros(4, 2)}, "steps=0"),
    ],
)
def test_bad_input_is_refused_with_the_rule(change: dict[str, object], message: str) -> None:
    given: dict[str, object] = {"query": torch.zeros(2, 5), "keys": torch.zeros(4, 5), "beta": 1.0}
    with pytest.raises(ValueError, match=message):
        retrieve(**(given | change))  # type: ignore[arg-type]


def test_states_that_still_move_are_told_once() -> None:
    query, keys = draw(5, 5), 0.4 * draw(11, 5, seed=1)
    with pytest.warns(NotConvergedWarning, match="still move after 2 updates") as caught:
        info = retrieval_info(query, keys, beta=0.5, tol=1e-12, max_steps=2)
    assert len(caught) == 1
    assert not info.converged.any()
    assert (info.steps == 2).all()
