"""For all packages: examples in Markdown run, GPU tests need a GPU, and CI skips nothing else."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import rmtree
from tempfile import mkdtemp

import pytest
from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

skipped: list[str] = []

# Compiling takes most of the time of JAX's tests; without optimization a fifth of it. Set before
# JAX starts, for every process alike: other flags give other bits.
os.environ.setdefault(
    "XLA_FLAGS", "--xla_backend_optimization_level=0 --xla_cpu_use_fusion_emitters=false"
)
# One folder for this run's compilations, its workers' and subprocesses' too: XLA's take minutes.
if "JAX_COMPILATION_CACHE_DIR" not in os.environ:
    os.environ["JAX_COMPILATION_CACHE_DIR"] = mkdtemp(prefix="bioviz-jax-")
COMPILED = Path(os.environ["JAX_COMPILATION_CACHE_DIR"])
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")


def _in_a_new_folder(namespace: dict[str, object]) -> None:
    namespace["_folder_before"] = Path.cwd()
    os.chdir(mkdtemp(prefix="bioviz-example-"))


def _back_again(namespace: dict[str, object]) -> None:
    os.chdir(str(namespace["_folder_before"]))


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), SkipParser()],
    patterns=["*.md"],
    setup=_in_a_new_folder,
    teardown=_back_again,
).pytest()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip GPU tests where there is no GPU."""
    marked = [item for item in items if item.get_closest_marker("gpu")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a GPU"))


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Remember what was skipped for another reason."""
    if report.skipped and "gpu" not in report.keywords and not hasattr(report, "wasxfail"):
        skipped.append(report.nodeid)


def pytest_unconfigure(config: pytest.Config) -> None:
    """The compilations of this run are nobody else's."""
    if not hasattr(config, "workerinput") and COMPILED.name.startswith("bioviz-jax-"):
        rmtree(COMPILED, ignore_errors=True)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """In CI, where all data are there, a skipped test is a failure."""
    if skipped and os.environ.get("CI") and not hasattr(session.config, "workerinput"):
        print("\nskipped in CI:", *skipped, sep="\n  ")
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
