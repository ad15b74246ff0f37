"""Checks of an installed plugin by its name, and of experiments, which run their smoke preset."""

from __future__ import annotations

import atexit
import json
from contextlib import suppress
from functools import lru_cache
from importlib import import_module
from importlib.metadata import entry_points
from inspect import isclass, isfunction
from pathlib import Path
from shutil import rmtree
from tempfile import TemporaryDirectory, mkdtemp
from time import perf_counter
from typing import Any

from bioviz_core.errors import BiovizError, StoppedError
from bioviz_core.hooks import hookimpl
from bioviz_core.lab import execute, rundir
from bioviz_core.lab.config import resolve
from bioviz_core.refs import Ref
from bioviz_core.registry import registry
from bioviz_core.testing.stimuli import run_python
from bioviz_core.testing.tasks import Case

LOADED = "import sys; __import__(sys.argv[1]); print(*{'torch', 'jax', 'numpy'} & {*sys.modules})"
STATUS = (
    "import sys, bioviz_core as bv\n"
    "print(*(p.status for p in bv.plugins() if p.name == sys.argv[1]))"
)
SECONDS = 15.0
"""What a smoke run may take after imports."""
MAY_DIFFER = {"run.json", "environment.json", "log.txt", "report.html", ".lock"}


def _refs(case: Case) -> list[Ref]:
    return [ref for ref in registry().list() if ref.plugin == case.name]


def check_plugin_is_light(case: Case) -> None:
    """Importing a plugin's module costs nothing: `bioviz list` imports every one of them.

    Fix: register `"package.module:Name"` strings; import frameworks where they are used.
    """
    modules = [p.module for p in entry_points(group="bioviz") if p.name == case.name]
    assert modules, "no entry point of the group bioviz has this name: is it installed?"
    brought = run_python(LOADED, modules[0])
    assert not brought, f"importing {modules[0]} brings {brought}"


def check_plugin_targets(case: Case) -> None:
    """Everything that is registered can be imported, its configuration included.

    Fix: correct the `module:name` of the registration.
    """
    assert _refs(case), "nothing is registered: see bioviz doctor"
    for ref in _refs(case):
        ref.load()
        ref.load_config()
        ref.load_for_task()


def check_plugin_documented(case: Case) -> None:
    """What is registered or public has a docstring of its own; `bioviz info` and the docs show it.

    Fix: one sentence that says what the thing does.
    """
    found: dict[str, Any] = {}
    for ref in _refs(case):
        with suppress(BiovizError):
            found[ref.name] = ref.load()
        home = import_module(ref.target.partition(":")[0].partition(".")[0])
        public = {n: getattr(home, n) for n in dir(home) if not n.startswith("_")}
        own = (n for n, thing in public.items() if isclass(thing) or isfunction(thing))
        found |= {n: public[n] for n in own if home.__name__ in public[n].__module__}
    bare = [name for name, thing in found.items() if not thing.__doc__]
    assert not bare, f"no docstring: {', '.join(bare)}"


def check_plugin_presets(case: Case) -> None:
    """The defaults and every preset of an experiment are valid, and `smoke` is among them.

    Fix: the names and ranges in `presets`; nested ones are written "solver.tol".
    """
    for ref in (ref for ref in _refs(case) if ref.kind == "experiment"):
        presets = ref.load().presets
        assert "smoke" in presets, f"{ref.name} has no preset called smoke"
        for name in (None, *presets):
            resolve(ref.load_config(), name=ref.name, preset_name=name, presets=presets)


def check_plugin_survives_others(case: Case) -> None:
    """A broken plugin elsewhere is its own affair: this one loads beside it.

    Fix: ask for nothing of other plugins while registering.
    """
    with TemporaryDirectory() as folder:
        for name in ("a-broken", "z-broken"):
            (about := Path(folder, f"bioviz_{name}-1.0.dist-info")).mkdir()
            (about / "METADATA").write_text(f"Name: bioviz-{name}\nVersion: 1.0\n")
            (about / "entry_points.txt").write_text(f"[bioviz]\n{name} = no_such_module\n")
        said = run_python(STATUS, case.name, path=folder)
    assert said == "ok", f"beside broken plugins it is: {said}"


# Experiments


def contents(path: Path) -> dict[str, bytes]:
    """Every file of a run that must not differ, the clock taken out of its metrics."""
    files = {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}
    rows = [json.loads(line) for line in files.get("metrics.jsonl", b"").splitlines()]
    files["metrics.jsonl"] = json.dumps([{**row, "time": 0} for row in rows]).encode()
    return {name: text for name, text in files.items() if name not in MAY_DIFFER}


def differences(one: Path, other: Path) -> set[str]:
    """Names of files that are not the same in both runs."""
    a, b = contents(one), contents(other)
    return {name for name in a.keys() | b.keys() if a.get(name) != b.get(name)}


class _Stop:
    """An observer that asks the run to stop after some rows."""

    def __init__(self, rows: int) -> None:
        self.rows = rows

    @hookimpl
    def bioviz_run_logged(self, run: Any) -> None:
        self.rows -= 1
        run.should_stop = run.should_stop or self.rows == 0


@lru_cache(maxsize=2)
def _run(case: Case, number: int) -> tuple[Any, float]:
    """A run left alone and its seconds, kept for the checks of one experiment."""
    del number
    folder, begun = mkdtemp(prefix="bioviz-checks-"), perf_counter()
    atexit.register(rmtree, folder, ignore_errors=True)
    return execute.run(case.name, folder=folder), perf_counter() - begun


def check_experiment_is_quick(case: Case) -> None:
    """The smoke preset shows in seconds that everything works; it runs in every test suite.

    Fix: fewer steps, smaller data and one seed in `presets["smoke"]`.
    """
    seconds = min(_run(case, number)[1] for number in range(2))  # one has the imports behind it
    assert seconds < SECONDS, f"the smoke preset took {seconds:.1f} s, at most {SECONDS:.0f}"


def check_experiment_same_seed(case: Case) -> None:
    """Two runs with one seed leave the same bytes.

    Fix: take randomness from `run.rng(...)` and `run.seed_for(...)`; no clock, no set order.
    """
    wrong = differences(_run(case, 0)[0].path, _run(case, 1)[0].path)
    assert not wrong, f"two runs of one seed differ in {sorted(wrong)}"


def check_experiment_resume(case: Case) -> None:
    """Stopped half-way and resumed, a run leaves the bytes of one left alone.

    Fix: train through `fit`; derive nothing from what an earlier attempt left behind.
    """
    alone, other = (_run(case, number)[0] for number in range(2))
    registry().hooks.register(observer := _Stop(len(alone.metrics) // 2 or 1))
    try:
        with TemporaryDirectory(prefix="bioviz-checks-") as folder:
            with suppress(StoppedError):
                execute.run(case.name, folder=folder)
            (path,) = rundir.listing(Path(folder))
            wrong = differences(alone.path, execute.resume(path).path)
    finally:
        registry().hooks.unregister(observer)
    wrong -= differences(alone.path, other.path)  # that is for `check_experiment_same_seed`
    assert not wrong, f"a resumed run differs in {sorted(wrong)}"


def check_experiment_report(case: Case) -> None:
    """The report is built, below 5 MB, and could read everything that the run wrote.

    Fix: write through `run.figure`, `run.table` and `run.array`, not into the folder.
    """
    page = (_run(case, 0)[0].path / "report.html").read_text()
    assert len(page) < 5e6, f"the report has {len(page) / 1e6:.1f} MB"
    assert "Files that cannot be read" not in page, "the report cannot read a file of the run"


def check_experiment_claims(case: Case) -> None:
    """Each claim is judged on a metric that `run` returns, but for data or weights not there.

    Fix: return the metric, or correct the claim's `metric`.
    """
    returned = _run(case, 0)[0].summary["scalars"]
    absent = {"needs data", "needs weights"}
    claims = [c for c in registry().get(case.name).claims if not absent & {*c.tags}]
    unmeasured = {part.metric for c in claims for part in c.parts} - returned.keys()
    assert not unmeasured, f"nobody measures {sorted(unmeasured)}"
