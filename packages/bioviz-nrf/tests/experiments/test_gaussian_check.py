"""The experiment as a user runs it, small."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
from bioviz_core.errors import ConfigError, StoppedError
from bioviz_nrf.experiments import certificates
from bioviz_nrf.experiments.gaussian_check import GaussianCheck

TINY = {"chains": 2000, "box_step": 0.1, "replica_chains": 300, "replica_burn_in": 200}


def test_configuration_and_claims_need_no_framework() -> None:
    code = (
        "import sys, bioviz_nrf.experiments.gaussian_check\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_certificates_are_those_of_the_claims_table() -> None:
    rows = {c.id: [(p.rule, p.bound) for p in c.parts] for c in GaussianCheck.claims}
    assert rows == {
        "stationary-law": [("<=", 1e-6)],
        "bias-order": [("<=", 0.2), ("<=", 0.01)],
        "bounded-law": [("<=", 4), ("exact", 0), (">", 4), (">", 0)],
        "replica-is-cold": [("<=", 0.02)],
    }
    assert all("certificate" in claim.tags for claim in GaussianCheck.claims)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bv.run("nrf/gaussian-check", folder=tmp_path_factory.mktemp("runs"), **TINY)


@pytest.mark.slow
def test_every_certificate_holds_and_is_measured(record: Any) -> None:
    assert record.status == "finished"
    assert [claim["verdict"] for claim in record.claims] == ["holds"] * 4
    parts = {part.metric for claim in GaussianCheck.claims for part in claim.parts}
    assert parts == set(record.summary["scalars"])
    assert record.names("figures") == ["coldness", "laws"]
    assert len(record.table("stationary-law")["scheme"]) == 12 + 27
    assert (record.path / "report.html").stat().st_size < 5_000_000


@pytest.mark.slow
def test_a_run_stopped_half_way_resumes_to_the_same_bytes(
    record: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    measure = certificates.coldness

    def stop(chains: int, burn_in: int, run: Any) -> Any:
        run.should_stop = True
        return measure(chains, burn_in, run)

    monkeypatch.setattr(certificates, "coldness", stop)
    with pytest.raises(StoppedError):
        bv.run("nrf/gaussian-check", folder=tmp_path, **TINY)
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    resumed = bv.resume(path)
    may_differ = {"run.json", "environment.json", "log.txt", "report.html", "metrics.jsonl"}
    for file in (f for f in record.path.rglob("*") if f.is_file() and f.name not in may_differ):
        assert (resumed.path / file.relative_to(record.path)).read_bytes() == file.read_bytes()


def test_a_wrong_kernel_fails_the_stationary_law(monkeypatch: pytest.MonkeyPatch) -> None:
    from bioviz_nrf.sampling import kernels

    def euler(flight: Any) -> None:
        """The position moves with the old momentum, as it must not."""
        old = [part.clone() for part in flight.p]
        flight.push()
        flight.p, new = old, flight.p
        flight.drift(flight.h)
        flight.p = new
        flight.measure()

    monkeypatch.setitem(kernels._SCHEMES, "sghmc", euler)  # type: ignore[arg-type]
    laws = [row for row in certificates.stationary_laws() if row.scheme == "sghmc"]
    # The table of the specification has 1.114, 1.746 and 6.05.
    found = [row.measured for row in laws]
    assert found == pytest.approx([1.114, 1.746, 6.05], abs=6e-3)
    assert min(abs(row.measured - row.expected) for row in laws) > 0.1


def test_errors_are_in_standard_errors_of_each_moment() -> None:
    rng = np.random.default_rng(0)
    covariance = np.array([[1.0, 0.5], [0.5, 2.0]])
    ends = rng.multivariate_normal([0, 0], covariance, size=10_000)
    assert np.abs(certificates._errors(ends, np.zeros(2), covariance)).max() < 4
    shifted = certificates._errors(ends + np.array([0.1, 0]), np.zeros(2), covariance)
    assert shifted[0] == pytest.approx(10, abs=3)


def test_wrong_settings_are_all_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        bv.run("nrf/gaussian-check", chains=3, box_step=0.5, chain=1)
    assert {p.path for p in caught.value.problems} == {"chains", "box_step", "chain"}
