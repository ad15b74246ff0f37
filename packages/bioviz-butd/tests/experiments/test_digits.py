"""The experiments as a user runs them, small."""

from __future__ import annotations

import subprocess
import sys

import bioviz_butd as butd
import bioviz_core as bv
import numpy as np
import pytest
import torch
from bioviz_butd.experiments import certificate, pictures
from bioviz_butd.experiments.digits import DigitsConfig
from bioviz_core.errors import ConfigError, StoppedError
from bioviz_core.lab.fit import fit

TINY = {
    "seeds": 1, "steps": 8, "batch_size": 16, "hidden": (8,), "channels": (3,), "evaluations": 2,
}  # fmt: skip


def test_configuration_and_claims_need_no_framework() -> None:
    code = (
        "import sys, bioviz_butd.experiments.digits, bioviz_butd.experiments.mnist\n"
        "sys.exit(any(m in sys.modules for m in ('torch', 'numpy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_certificate_row_is_that_of_the_claims_table() -> None:
    (claim,) = bv.get("butd/digits", kind="experiment").claims
    assert (claim.id, claim.rule, claim.bound) == ("ch-equals-backprop", "<=", 1e-12)
    assert "certificate" in claim.tags
    (claim,) = bv.get("butd/mnist", kind="experiment").claims
    assert (claim.id, claim.rule, claim.bound, claim.seeds) == (
        "separate-near-backprop-mnist", "equal", 0.5, 5,
    )  # fmt: skip


@pytest.mark.slow
def test_certificate_holds_and_would_see_a_wrong_rule() -> None:
    for row in certificate.compare():
        assert row.equal_bits == row.tensors
        assert row.deviation <= 1e-12
    assert 1e-2 < certificate.frozen_statistics_deviation() < 10


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    return bv.run("butd/digits", folder=tmp_path_factory.mktemp("runs"), **TINY)


@pytest.mark.slow
def test_run_leaves_claims_figures_tables_and_a_model(record) -> None:
    assert record.status == "finished"
    assert [c["verdict"] for c in record.claims] == ["holds"]
    assert record.names("figures") == ["learning-conv", "learning-mlp", "saliency"]
    scalars = record.summary["scalars"]
    assert scalars["mlp_differing_weights"] == [0]
    assert scalars["conv_accuracy_shared"] == scalars["conv_accuracy_backprop"]
    net = record.model()
    assert net.td_weights == "separate"
    assert net(torch.zeros(1, 1, 8, 8)).shape == (1, 10)
    assert len(record.table("certificate")["network"]) == 2 * len(certificate.networks())
    assert (record.path / "report.html").stat().st_size < 5_000_000


@pytest.mark.slow
def test_stopped_run_resumes_to_the_same_bytes(record, tmp_path, monkeypatch) -> None:
    import bioviz_core.lab.run as lab_run

    log = lab_run.Run.log

    def stop_in_the_second_network(self, step, *, phase="fit", **metrics):
        log(self, step, phase=phase, **metrics)
        if phase == "conv-shared-0" and step == 5:
            self.should_stop = True

    monkeypatch.setattr(lab_run.Run, "log", stop_in_the_second_network)
    with pytest.raises(StoppedError):
        bv.run("butd/digits", folder=tmp_path, **TINY)
    monkeypatch.undo()
    (path,) = tmp_path.iterdir()
    resumed = bv.resume(path)
    files = [f for f in record.path.rglob("*") if f.is_file()]
    may_differ = {"run.json", "environment.json", "log.txt", "report.html", "metrics.jsonl"}
    for file in files:
        if file.name not in may_differ:
            other = resumed.path / file.relative_to(record.path)
            assert other.read_bytes() == file.read_bytes(), file.name


@pytest.mark.slow
def test_mnist_without_data_says_so(tmp_path, monkeypatch) -> None:
    monkeypatch.delenv("BIOVIZ_DATA", raising=False)
    options = {"seeds": 1, "epochs": 1, "hidden": (6,), "batch_size": 200, "evaluations": 1}
    record = bv.run("butd/mnist", folder=tmp_path, **options)
    assert [c["verdict"] for c in record.claims] == ["needs data"]
    assert "BIOVIZ_DATA is unset" in record.manifest["facts"]["data"]
    assert "separate_minus_backprop" not in record.summary["scalars"]


def test_wrong_settings_are_all_reported() -> None:
    with pytest.raises(ConfigError) as caught:
        bv.run("butd/digits", step=3, decay=-1, learning_rate=0)
    assert {p.path for p in caught.value.problems} == {"step", "decay", "learning_rate"}
    assert DigitsConfig().steps == 1000


def test_schedule_of_the_step_size_falls_and_resumes() -> None:
    from functools import partial

    from bioviz_core.stimuli.embedded import digits

    optimizer = partial(torch.optim.SGD, lr=1.0)
    fall = partial(torch.optim.lr_scheduler.StepLR, step_size=2, gamma=0.5)
    net = butd.fc_net(shape=(1, 8, 8), hidden=(4,))
    rule = butd.CounterHebb(optimizer, scheduler=fall)
    fitted = fit(net, rule, digits("test"), steps=5, batch_size=4)
    assert fitted.state["optimizer"].param_groups[0]["lr"] == 0.25


def test_labels_keep_apart_and_near_their_lines() -> None:
    places = pictures._apart(np.array([50.0, 12.0, 51.0]), 10)
    assert places == pytest.approx([45.5, 12.0, 55.5], abs=0.01)
    crowd = pictures._apart(np.array([40.0, 41.0, 39.0, 40.5]), 6)
    assert np.diff(np.sort(crowd)).min() > 5.9
    assert crowd.mean() == pytest.approx(40.125)


def test_alike_is_a_correlation_that_skips_empty_maps() -> None:
    maps = np.random.default_rng(0).random((3, 4, 4))
    assert pictures._alike(maps, 2 * maps + 1) == pytest.approx(1)
    silent = maps.copy()
    silent[0] = 0
    assert pictures._alike(silent, maps) == pytest.approx(1)
    assert np.isnan(pictures._alike(0 * maps, maps))


def test_mnist_is_normalized_as_in_the_paper() -> None:
    from bioviz_butd.experiments.mnist import normalized
    from bioviz_core.stimuli.sources import ArraySource, column

    images = np.arange(256, dtype=np.uint8).repeat(4).reshape(256, 1, 2, 2)
    found = normalized(ArraySource(inputs=images, labels=np.arange(256) % 10, classes=10), 200)
    assert len(found) == 200
    assert found.fields["inputs"].dtype == "float32"
    expected = (np.arange(200) / 255 - 0.1307) / 0.3081
    assert column(found, "inputs")[:, 0, 0, 0] == pytest.approx(expected, abs=1e-6)
