from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from bioviz_core.lab import environment


def test_only_listed_variables_are_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIOVIZ_TOKEN", "secret-1")
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    found = environment.capture()
    assert found["variables"]["OMP_NUM_THREADS"] == "3"
    assert "secret-1" not in json.dumps(found)
    assert found["versions"]["numpy"] == np.__version__
    assert found["python"] == sys.version.split()[0]
    assert "versions" in environment.capture("numpy 1.0")


@pytest.mark.parametrize(
    ("remote", "said"),
    [
        ("https://me:token@host.org/a/b.git", "https://host.org/a/b.git"),
        ("https://token@host.org/a@b.git", "https://host.org/a@b.git"),
        ("https://host.org/a/b.git", "https://host.org/a/b.git"),
        ("git@host.org:a/b.git", "host.org:a/b.git"),
        ("ssh://git@host.org/a.git", "ssh://host.org/a.git"),
        ("/srv/a.git", "/srv/a.git"),
    ],
)
def test_a_remote_is_recorded_without_its_user(remote: str, said: str) -> None:
    assert environment.without_user(remote) == said


def test_the_commit_and_unsaved_changes_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert environment.capture()["git"] is None

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], check=True, capture_output=True, text=True)
        return done.stdout.strip()

    git("init", "-q")
    git("-c", "user.name=a", "-c", "user.email=b", "commit", "-qm", "c", "--allow-empty")
    git("remote", "add", "origin", "https://me:token@host.org/a.git")
    clean = {"commit": git("rev-parse", "HEAD"), "dirty": False, "remote": "https://host.org/a.git"}
    assert environment.capture()["git"] == clean
    (tmp_path / "new").touch()
    assert environment.capture()["git"] == {**clean, "dirty": True}
