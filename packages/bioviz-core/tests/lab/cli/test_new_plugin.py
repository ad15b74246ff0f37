from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from bioviz_core.lab.cli.new_plugin import command
from bioviz_core.refs import KINDS
from click.testing import CliRunner

ABOUT = "Name: bioviz-spike-train\nVersion: 0.1.0\n"


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_a_generated_package_passes_its_own_tests(kind: str, tmp_path: Path) -> None:
    done = CliRunner().invoke(
        command, ["spike-train", "--kind", kind, "--folder", str(tmp_path)], catch_exceptions=False
    )
    assert done.exit_code == 0, done.output
    root = tmp_path / "bioviz-spike-train"
    assert (root / f"src/bioviz_spike_train/{kind}.py").exists()
    # What `pip install` would leave beside the package.
    (about := root / "src/bioviz_spike_train-0.1.0.dist-info").mkdir()
    (about / "METADATA").write_text(ABOUT)
    (about / "entry_points.txt").write_text("[bioviz]\nspike-train = bioviz_spike_train.plugin\n")
    path = os.pathsep.join([str(root / "src"), *filter(None, sys.path)])
    environment = {**os.environ, "PYTHONPATH": path}
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(root)]
    tested = subprocess.run(tests, cwd=root, env=environment, capture_output=True, text=True)
    assert tested.returncode == 0, tested.stdout
    readme = (root / "README.md").read_text().split("```")[1].removeprefix("python\n")
    assert readme.count("\n") <= 8
    ran = subprocess.run([sys.executable, "-c", readme], cwd=tmp_path, env=environment,
                         capture_output=True, text=True)  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    linted = subprocess.run(
        [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "100", str(root)],
        cwd=root,
        capture_output=True,
        text=True,
    )
    assert linted.returncode == 0, linted.stdout


def test_nothing_is_overwritten_and_names_are_checked(tmp_path: Path) -> None:
    (tmp_path / "bioviz-oja").mkdir()
    done = CliRunner().invoke(command, ["oja", "--folder", str(tmp_path)])
    assert done.exit_code == 2
    assert "exists already" in done.output
    assert "kebab-case" in str(CliRunner().invoke(command, ["Oja"]).exception)
