from __future__ import annotations

import csv
import io
import json
from dataclasses import asdict

import pytest
from bioviz_core.errors import RunStateError
from bioviz_core.interfaces import Claim
from bioviz_core.lab.claims import judge
from bioviz_core.lab.compare import Value, compare
from bioviz_core.lab.record import RunRecord


@pytest.fixture
def make(tmp_path):
    def run(id: str, *, tol=1e-5, seed=0, rate=38.6, commit="abc", experiment="ssn/circuit"):
        path = tmp_path / f"ssn-circuit-20260131-142200-{id}"
        path.mkdir()
        claim = Claim("fast", "It is fast", "text", "rate", ">=", 38.7)
        verdict = judge(claim, {"rate": rate}, preset="laptop")
        files = {
            "run": {"format": 1, "experiment": experiment, "status": "finished", "seed": seed},
            "config": {"experiment": experiment, "preset": "laptop", "seed": seed,
                       "solver": {"tol": tol, "steps": 100}},
            "environment": {"git": {"commit": commit, "dirty": False}},
            "summary": {"scalars": {"rate": rate, "same": 1.0}, "claims": [asdict(verdict)]},
        }  # fmt: skip
        for name, value in files.items():
            (path / f"{name}.json").write_text(json.dumps(value))
        return path

    return run


def test_only_what_differs_is_shown(make):
    found = compare([make("7f3a"), make("91bc", tol=1e-7, rate=38.9)])
    assert found.groups == ("7f3a", "91bc")
    assert [row.name for row in found.rows] == ["solver.tol", "rate", "claims"]
    assert str(found).split("\n") == [
        "               7f3a     91bc   difference",
        "solver.tol    1e-05    1e-07",
        "rate           38.6     38.9         +0.3",
        "claims       0 of 1   1 of 1           +1",
    ]


def test_seeds_of_one_configuration_give_a_mean_and_an_interval(make):
    runs = [make(f"a{s}", seed=s, rate=float(s)) for s in range(3)]
    runs += [make(f"b{s}", seed=s, rate=float(s + 2), tol=1e-7) for s in range(3)]
    found = compare(runs)
    assert found.groups == ("a0 and 2 more", "b0 and 2 more")
    rate = next(row for row in found.rows if row.name == "rate")
    first, last = rate.values
    assert isinstance(first, Value)
    assert isinstance(last, Value)
    assert (first.mean, first.n, last.mean) == (1.0, 3, 3.0)
    assert (first.low, first.high) == pytest.approx((1 - 2.48414, 1 + 2.48414), abs=1e-4)
    assert rate.difference == 2.0
    assert "seed" not in [row.name for row in found.rows]


def test_runs_that_differ_in_their_seed_alone_stand_side_by_side(make):
    found = compare([make("a", seed=0), make("b", seed=1, rate=40.0)])
    assert (found.rows[0].name, found.rows[0].values) == ("seed", (0, 1))


def test_numbers_by_seed_within_a_run_are_pooled_without_the_missing(make):
    one, two = make("a", rate=[1.0, 3.0]), make("b", rate=[4.0, 6.0], tol=1.0)
    path = one / "summary.json"
    path.write_text(path.read_text().replace("[1.0, 3.0]", "[1.0, NaN, 3.0]", 1))
    rate = next(row for row in compare([one, two]).rows if row.name == "rate")
    assert [(v.mean, v.n) for v in rate.values] == [(2.0, 2), (5.0, 2)]


@pytest.mark.parametrize("other", [{"experiment": "ssn/ablations"}, {"commit": "def"}])
def test_different_experiments_and_commits_are_refused_without_force(make, other):
    runs = [make("a"), make("b", **other)]
    with pytest.raises(RunStateError, match="force=True"):
        compare(runs)
    assert compare(runs, force=True).groups == ("a", "b")


def test_forced_commits_are_not_averaged(make):
    found = compare([make("a", seed=0), make("b", seed=1, commit="def")], force=True)
    assert found.groups == ("a", "b")


def test_a_run_without_results_is_refused(make):
    one, two = make("a"), make("b")
    (two / "summary.json").unlink()
    with pytest.raises(RunStateError, match="has no summary"):
        compare([one, two])
    with pytest.raises(RunStateError, match="at least two"):
        compare([one])


def test_records_compare_as_their_paths_do(make):
    runs = [make("a"), make("b", tol=1.0)]
    assert compare([RunRecord(path) for path in runs]) == compare(runs)


def test_csv_has_full_numbers_and_html_is_escaped(make):
    runs = [make("a", rate=1 / 3), make("b", tol="<b>", rate=0.5)]
    found = compare(runs)
    rows = list(csv.DictReader(io.StringIO(found.to_csv())))
    assert float(rows[1]["a"]) == 1 / 3
    assert float(rows[1]["difference"]) == 0.5 - 1 / 3
    assert "&lt;b&gt;" in found.to_html()
    assert "<b>" not in found._repr_html_()
