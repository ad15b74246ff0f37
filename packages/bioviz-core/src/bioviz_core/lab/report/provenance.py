"""What made a run: its settings, environment, files, the command that repeats it, its paper."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bioviz_core import registry
from bioviz_core.lab.report import formats
from bioviz_core.lab.report.directory import Directory


def experiment(run: Directory, what: str) -> tuple[Any, str]:
    """The experiment's `ref`, class (`load`) or configuration (`load_config`); else None and why.

    A report must build where the plugin is absent or broken, so any error of its import counts.
    """
    try:
        ref = registry.registry().ref(str(run.run.get("experiment")), kind="experiment")
        return (ref if what == "ref" else getattr(ref, what)()), ""
    except Exception as error:
        return None, f"{type(error).__name__}: {error}"


def settings(run: Directory) -> dict[str, Any]:
    """What differs from the defaults, then all settings, the environment and the files."""
    config_class, why = experiment(run, "load_config")
    changed: Mapping[str, tuple[object, object]] = {}
    if config_class is not None:
        from bioviz_core.lab.config import changed as differing

        changed = differing(run.config, config_class)
    environment = dict(run.environment)
    if isinstance(command := environment.get("command"), list):
        environment["command"] = shlex.join(command)
    return {
        "changed": changed,
        "changed_note": (
            "Every option has its default."
            if config_class
            else f"The defaults are unknown here. {why}"
        ),
        "settings": list(formats.flat(run.config)) if run.config else [],
        "environment": list(formats.flat(environment)) if environment else [],
        "files": run.files(),
    }


def repeat_and_cite(run: Directory) -> dict[str, Any]:
    """The commands that repeat the run, and the paper it is about."""
    git = run.environment.get("git")
    commit = (git if isinstance(git, Mapping) else {}).get("commit")
    distribution = str(run.run.get("distribution") or "").replace(" ", "==")
    lines = [
        f"git checkout {commit}" if commit else "",
        f"pip install {distribution}" if distribution else "",
        f"bioviz run {shell_path(run.path / 'config.json')}",
    ]
    paper = run.run.get("paper")
    ref, _ = experiment(run, "ref")
    if ref is not None and not isinstance(paper, Mapping):
        found = registry.registry().paper(ref)
        paper = {n: getattr(found, n) for n in found.__slots__} if found else paper
    if isinstance(paper, Mapping):
        who = paper.get("authors") or ()
        who = who if isinstance(who, str) else ", ".join(who)
        citation = f"{who} ({paper.get('year')}). {paper.get('title')}."
        paper = {**paper, "citation": citation}
    else:
        paper = {"citation": paper}
    return {"repeat": "\n".join(filter(None, lines)), "paper": paper}


def shell_path(path: Path) -> str:
    """A path as one would type it: relative where it lies below the working directory."""
    below = path.resolve().is_relative_to(Path.cwd())
    return shlex.quote(os.path.relpath(path) if below else str(path.resolve()))


def commit_of(environment: Mapping[str, Any]) -> str | None:
    """The commit that ran, in short, and whether its files were changed."""
    git = environment.get("git")
    if not isinstance(git, Mapping) or not git.get("commit"):
        return None
    return f"{str(git['commit'])[:7]}, {'with changes' if git.get('dirty') else 'clean'}"
