"""The experiment as a user runs it, small."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
import torch
from bioviz_core.errors import ConfigError, StoppedError
from bioviz_fastweights.experiments import certificates
from bioviz_fastweights.experiments.contexts import Contexts
from bioviz_fastweights.experiments.interference import Crossed
from bioviz_fastweights.fast_weights import FastWeights

TINY = {"contexts": 2, "images": 2, "slow_steps": 4, "exposures": 4, "merges": 3, "rank": 2}


def test_configuration_and_claims_need_no_framework() -> None:
    code = (
        "import sys, bioviz_fastweights.experiments.contexts\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'timm', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_certificates_are_those_of_the_claims_table() -> None:
    rows = {c.id: [(p.rule, p.bound) for p in c.parts] for c in Contexts.claims}
    assert rows == {
        "attach-is-identity": [("exact", 0)],
        "merge-reset-bits": [("exact", 0), ("exact", 0), ("exact", 0), (">", 0)],
        "delta-algebra": [("<=", 1e-12)],
    }
    assert all("certificate" in claim.tags for claim in Contexts.claims)


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return bv.run("fastweights/contexts", folder=tmp_path_factory.mktemp("runs"), **TINY)


@pytest.mark.slow
def test_every_certificate_holds_and_is_measured(record: Any) -> None:
    assert record.status == "finished"
    assert [claim["verdict"] for claim in record.claims] == ["holds"] * 3
    parts = {part.metric for claim in Contexts.claims for part in claim.parts}
    assert parts | {"own_fall", "other_fall"} == set(record.summary["scalars"])
    assert record.names("figures") == ["contexts", "reconstructions"]
    assert len(record.table("errors")["chelsea"]) == 3
    assert (record.path / "report.html").stat().st_size < 5_000_000


@pytest.mark.slow
def test_a_run_stopped_in_the_second_context_resumes_to_the_same_bytes(
    record: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    import bioviz_core.lab.run as lab_run

    log = lab_run.Run.log

    def stop(self: Any, step: int, *, phase: str = "fit", **metrics: Any) -> None:
        log(self, step, phase=phase, **metrics)
        if phase == "coffee" and step == 2:
            self.should_stop = True

    monkeypatch.setattr(lab_run.Run, "log", stop)
    with pytest.raises(StoppedError):
        bv.run("fastweights/contexts", folder=tmp_path, **TINY)
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    resumed = bv.resume(path)
    may_differ = {"run.json", "environment.json", "log.txt", "report.html", "metrics.jsonl"}
    for file in (f for f in record.path.rglob("*") if f.is_file() and f.name not in may_differ):
        other = resumed.path / file.relative_to(record.path)
        assert other.read_bytes() == file.read_bytes(), file.name


# Teeth: a wrong variant is seen by each certificate


def test_attaching_with_weights_already_in_place_is_seen(monkeypatch: Any) -> None:
    attach = certificates.attach_fast_weights

    def written(model: Any) -> None:
        certificates._fill(attach(model), "default", seed=0)

    monkeypatch.setattr(certificates, "attach_fast_weights", written)
    assert certificates.attaching() > 1000


def test_merging_that_leaves_the_delta_is_seen(monkeypatch: Any) -> None:
    def consolidated(self: FastWeights) -> Any:
        self.consolidate(1e-3)
        return torch.no_grad()

    monkeypatch.setattr(FastWeights, "merged", consolidated)
    assert certificates.merging(1).differing > 1000


def test_a_reset_that_only_decays_is_seen(monkeypatch: Any) -> None:
    monkeypatch.setattr(FastWeights, "reset", lambda self, context=None: self.decay(1e-3))
    assert certificates.resetting() > 1000


def test_writing_into_the_first_context_is_seen(monkeypatch: Any) -> None:
    monkeypatch.setattr(FastWeights, "use", lambda self, name: None)
    assert certificates.writing_elsewhere() > 1000


def test_a_decay_of_both_factors_is_seen(monkeypatch: Any) -> None:
    def both(self: FastWeights, factor: float) -> None:
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.mul_(factor)

    assert certificates.algebra() <= 1e-12
    monkeypatch.setattr(FastWeights, "decay", both)
    assert certificates.algebra() > 1e-3


def test_falls_are_against_the_slow_weights() -> None:
    errors = np.array([[0.2, 0.4], [0.1, 0.4], [0.3, 0.1]])
    found = Crossed(("a", "b"), errors, np.zeros((2, 9)), np.zeros((2, 9)))
    np.testing.assert_allclose(found.falls, [[50, 0], [-50, 75]], atol=1e-12)
    assert found.own == pytest.approx(62.5)
    assert found.other == pytest.approx(-25)


def test_wrong_settings_are_all_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        bv.run("fastweights/contexts", contexts=9, merges=0, exposure=1)
    assert {p.path for p in caught.value.problems} == {"contexts", "merges", "exposure"}
