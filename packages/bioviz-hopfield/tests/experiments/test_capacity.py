"""The experiment as a user runs it, small."""

from __future__ import annotations

import subprocess
import sys
from functools import partial
from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
import torch
from bioviz_core.errors import ConfigError, StoppedError
from bioviz_hopfield import theory
from bioviz_hopfield.experiments import certificates, recall
from bioviz_hopfield.experiments.capacity import Capacity
from bioviz_hopfield.functional import retrieve

TINY = {
    "energy_cases": 3000, "separated_cases": 100, "sparse_cases": 100, "attention_cases": 3,
    "dimensions": (6, 8), "largest": 64, "queries": 10,
}  # fmt: skip


def test_configuration_and_claims_need_no_framework() -> None:
    code = (
        "import sys, bioviz_hopfield.experiments.capacity\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_certificates_are_those_of_the_claims_table() -> None:
    rows = {c.id: [(p.rule, p.bound) for p in c.parts] for c in Capacity.claims}
    assert rows == {
        "energy-never-rises": [("<=", 1e-10)],
        "separation-bound": [("exact", 0)],
        "sparse-exact": [("exact", 0), ("exact", 0)],
        "retrieval-is-attention": [("<=", 1e-12)],
        "capacity-constants": [("<=", 5e-4)],
    }
    assert all("certificate" in claim.tags for claim in Capacity.claims)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bv.run("hopfield/capacity", folder=tmp_path_factory.mktemp("runs"), **TINY)


@pytest.mark.slow
def test_every_certificate_holds_and_is_measured(record: Any) -> None:
    assert record.status == "finished"
    assert [claim["verdict"] for claim in record.claims] == ["holds"] * 5
    parts = {part.metric for claim in Capacity.claims for part in claim.parts}
    assert parts == set(record.summary["scalars"])
    assert record.names("figures") == ["capacity", "digits"]
    assert set(record.table("recall")["dimension"]) == {6, 8}
    assert (record.path / "report.html").stat().st_size < 5_000_000


@pytest.mark.slow
def test_a_run_stopped_half_way_resumes_to_the_same_bytes(
    record: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = recall.rates

    def stop(*options: Any) -> Any:
        options[-1].should_stop = True
        return measure(*options)

    monkeypatch.setattr(recall, "rates", stop)
    with pytest.raises(StoppedError):
        bv.run("hopfield/capacity", folder=tmp_path, **TINY)
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    resumed = bv.resume(path)
    may_differ = {"run.json", "environment.json", "log.txt", "report.html", "metrics.jsonl"}
    for file in (f for f in record.path.rglob("*") if f.is_file() and f.name not in may_differ):
        assert (resumed.path / file.relative_to(record.path)).read_bytes() == file.read_bytes()


# Teeth: a wrong variant is seen by each certificate


@pytest.fixture
def run(tmp_path: Any) -> Any:
    from bioviz_core.lab.run import Run

    with Run(tmp_path, seed=0) as open_run:
        yield open_run


def test_an_update_that_goes_too_far_raises_the_energy(run: Any, monkeypatch: Any) -> None:
    def too_far(query: torch.Tensor, keys: torch.Tensor, **how: Any) -> torch.Tensor:
        return query + 2.5 * (retrieve(query, keys, **how) - query)

    assert certificates.energy_rise(3000, run) <= 1e-10
    monkeypatch.setattr(certificates, "retrieve", too_far)
    assert certificates.energy_rise(3000, run) > 1e-3


def test_a_bound_a_million_times_too_small_is_violated(run: Any, monkeypatch: Any) -> None:
    def tight(*given: Any, bound: Any, **how: Any) -> Any:
        return 1e-6 * bound(*given, **how)

    monkeypatch.setattr(theory, "one_step_bound", partial(tight, bound=theory.one_step_bound))
    assert certificates.separated(100, run).violations > 50


def test_a_margin_too_small_is_not_exact(run: Any, monkeypatch: Any) -> None:
    weaker = dict(certificates.SEPARATIONS)
    monkeypatch.setattr(certificates, "SEPARATIONS", {"sparsemax": weaker["entmax15"]})
    assert certificates.sparse_retrieval(100, run) == (0, 0)  # a margin of 2 is more than enough

    def at_a_quarter(query: Any, keys: Any, *, beta: float, separation: Any) -> Any:
        return retrieve(query, keys, beta=beta / 4, separation=separation)

    monkeypatch.setattr(certificates, "retrieve", at_a_quarter)
    assert certificates.sparse_retrieval(100, run)[0] > 50


def test_float32_is_not_attention_to_twelve_digits(run: Any, monkeypatch: Any) -> None:
    def single(*tensors: Any, **how: Any) -> Any:
        return retrieve(*(tensor.float() for tensor in tensors), **how).double()

    monkeypatch.setattr(certificates, "retrieve", single)
    assert certificates.attention_deviation(3, run) > 1e-9


# Recall


def test_recall_falls_with_the_number_of_patterns_and_rises_with_the_dimension(run: Any) -> None:
    found = recall.rates((8, 12), 256, 50, run)
    for of in found.values():
        assert all(np.diff([*of.values()]) <= 0.1)
    low, high = (recall.half_recalled(of) for of in found.values())
    assert low is not None
    assert high is None or high > 3 * low


def test_half_recalled_lies_between_the_sizes_tried() -> None:
    assert recall.half_recalled({4: 1.0, 8: 0.75, 16: 0.25, 32: 0.0}) == pytest.approx(8 * 2**0.5)
    assert recall.half_recalled({4: 1.0, 8: 0.6}) is None
    assert recall.half_recalled({4: 0.1, 8: 0.0}) == 4


def test_most_digits_come_back_from_their_halves() -> None:
    found = recall.halves(40)
    assert found.right.sum() == 37
    np.testing.assert_allclose(found.cues[:, 4:], 0.5)


def test_wrong_settings_are_all_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        bv.run("hopfield/capacity", energy_cases=3, largest=2, dimension=1)
    assert {p.path for p in caught.value.problems} == {"energy_cases", "largest", "dimension"}
