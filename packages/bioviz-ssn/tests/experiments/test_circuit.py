"""The circuit experiment as a user runs it, small."""

from __future__ import annotations

import subprocess
import sys

import bioviz_core as bv
import bioviz_ssn as ssn
import numpy as np
import pytest
from bioviz_core.lab.record import RunRecord
from bioviz_ssn.experiments import circuit_certificates as certificates
from bioviz_ssn.experiments import residuals
from bioviz_ssn.experiments.circuit import CircuitConfig, feedforward_weights
from bioviz_ssn.experiments.size_network import line_network, patches

TINY = {"seeds": 1, "draws": 2, "contrasts": 25, "networks": 1}


def test_configuration_and_claims_need_no_framework() -> None:
    code = (
        "import sys, bioviz_ssn.experiments.circuit\n"
        "sys.exit(any(m in sys.modules for m in ('jax', 'numpy', 'matplotlib')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_claims_are_the_rows_of_the_claims_table() -> None:
    claims = {claim.id: claim for claim in bv.get("ssn/circuit", kind="experiment").claims}
    rules = {name: (claim.rule, claim.bound) for name, claim in claims.items()}
    assert rules == {
        "ssn-residual": ("<=", 1e-10),
        "ssn-closed-forms": ("<=", 5e-6),
        "paradoxical-flip": ("share", "200/200"),
        "supra-to-sublinear": ("<=", 1e-3),
        "normalization-is-generic": (">", 0.8),
    }
    certified = {name for name, claim in claims.items() if "certificate" in claim.tags}
    assert certified == set(rules) - {"normalization-is-generic"}
    sizes = bv.get("ssn/circuit", kind="experiment")
    assert CircuitConfig().pairs == 10_000
    assert all("pairs" not in sizes.presets[name] for name in ("laptop", "paper"))


@pytest.fixture(scope="module")
def record(tmp_path_factory: pytest.TempPathFactory) -> RunRecord:
    return bv.run("ssn/circuit", folder=tmp_path_factory.mktemp("runs"), **TINY)


@pytest.mark.slow
def test_run_certifies_and_leaves_figures_tables_and_arrays(record: RunRecord) -> None:
    assert record.status == "finished"
    verdicts = {claim["id"]: claim["verdict"] for claim in record.claims}
    assert verdicts.pop("normalization-is-generic") == "not judged"
    assert set(verdicts.values()) == {"holds"}
    assert record.names("figures") == ["circuit", "paradox", "plaids", "sizes"]
    assert record.names("tables") == ["closed-forms", "residuals", "rings"]
    assert record.array("orientation-map").shape == (81,)
    assert record.array("tuning-curves").shape == (4, 360)
    scalars = record.summary["scalars"]
    assert scalars["slow_systems"] > 1000
    assert 0.3 < scalars["surround_suppression"] < 0.6


@pytest.mark.slow
def test_suppression_grows_and_the_preferred_size_shrinks_with_contrast(record: RunRecord) -> None:
    # The peak of the strongest contrast lies within the sizes shown, not at their end.
    assert 0.25 < record.summary["scalars"]["preferred_size"] < 2


def test_accepted_draws_obey_the_inequalities_and_bounds() -> None:
    responses = np.linspace(-80, 80, 50)
    draws, drive = residuals.accepted(np.random.default_rng(0), 200, responses)
    ee, ei, ie, ii = np.abs(draws.middle).reshape(200, 4).T
    assert (1.1 * ee * ii < ei * ie).all()
    assert (1.1 * ei * draws.gains[:, 1] < ii * draws.gains[:, 0]).all()
    assert ((ee >= 4) & (ee <= 4.8) & (ii >= 0.8) & (ii <= 1.6)).all()
    assert drive.shape == (2, 200)
    assert residuals.settles(np.moveaxis(draws.middle, 0, -1), drive).all()


def test_fewer_networks_than_asked_for_are_an_error() -> None:
    responses = np.zeros((8, 4, 81))
    draws, _ = residuals.accepted(np.random.default_rng(0), 2, np.array([20.0]))
    preferred = ssn.orientation_map(np.random.default_rng(0))
    with pytest.raises(ssn.ParameterError, match="of 2 draws too few have"):
        list(residuals.superficial_networks(draws, preferred, responses, 5))


def test_runaway_pairs_do_not_settle() -> None:
    weights = np.array([[[4.0], [-0.1]], [[0.1], [-0.1]]])
    assert not residuals.settles(weights, np.array([[20.0], [5.0]])).any()
    assert residuals.settles(0 * weights, np.array([[20.0], [5.0]])).all()


def test_feedforward_plaids_have_one_weight_at_every_contrast() -> None:
    np.testing.assert_allclose(feedforward_weights(), certificates.FEEDFORWARD, atol=1e-3)


def test_line_network_gives_each_cell_its_nominal_weights() -> None:
    weights = np.asarray(line_network().params)
    middle = weights[[40, 121]].reshape(2, 2, 81).sum(-1)
    np.testing.assert_allclose(middle, [[1.0, -1.0], [1.25, -0.75]], rtol=1e-5)
    drives = patches(10.0)
    assert (np.diff(drives[:, 40]) >= 0).all()
    np.testing.assert_allclose(drives[-1, 40], 10, rtol=1e-6)
