"""What made a run: its settings, environment, files, the command that repeats it, its paper."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

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
    every = [(path, _text(value)) for path, value in formats.flat(run.config)]
    note = "Every option has its default."
    changed: list[tuple[str, str, str]] = []
    if config_class is None:
        note = f"The defaults are unknown here. {why}".rstrip()
    else:
        from bioviz_core.lab.config import changed as differing

        rows = differing(run.config, config_class).items()
        changed = [(path, _text(before), _text(after)) for path, (before, after) in rows]
    environment = [
        (path, shlex.join(value) if path == "command" and isinstance(value, list) else _text(value))
        for path, value in formats.flat(run.environment)
    ]
    listed = run.files()
    total = formats.size(sum(bytes for _, bytes in listed))
    return {
        "changed": changed,
        "changed_note": note,
        "changed_count": formats.plural(len(changed), "option") if config_class else "unknown",
        "settings": every if run.config else [],
        "settings_count": formats.plural(len(every), "option"),
        "environment": environment if run.environment else [],
        "environment_count": formats.plural(len(environment), "entry").replace("entrys", "entries"),
        "files": [(name, quote(name), formats.size(bytes)) for name, bytes in listed],
        "files_count": f"{formats.plural(len(listed), 'file')}, {total}",
    }


def repeat_and_cite(run: Directory) -> dict[str, Any]:
    """The commands that repeat the run, and the paper it is about."""
    name = str(run.run.get("experiment") or run.config.get("experiment") or "EXPERIMENT")
    config = shell_path(run.path / "config.json")
    lines = [f"bioviz run {name} --config {config}"]
    if distribution := run.run.get("distribution"):
        lines.insert(0, f"pip install {str(distribution).replace(' ', '==')}")
    git = run.environment.get("git")
    if commit := (git if isinstance(git, Mapping) else run.environment).get("commit"):
        lines.insert(0, f"git checkout {commit}")
    paper = run.run.get("paper")
    ref, _ = experiment(run, "ref")
    if ref is not None and not isinstance(paper, Mapping):
        found = registry.registry().paper(ref)
        paper = {n: getattr(found, n) for n in found.__slots__} if found else paper
    citation: object = paper or ""
    doi = bibtex = ""
    if isinstance(paper, Mapping):
        authors = paper.get("authors") or ()
        who = authors if isinstance(authors, str) else ", ".join(authors)
        citation = f"{who} ({paper.get('year')}). {paper.get('title')}."
        doi, bibtex = str(paper.get("doi") or ""), str(paper.get("bibtex") or "")
    repeat = "\n".join(lines)
    return {"repeat": repeat, "citation": citation, "doi": doi, "bibtex": bibtex}


def shell_path(path: Path) -> str:
    """A path as one would type it: relative where it lies below the working directory."""
    below = path.resolve().is_relative_to(Path.cwd())
    return shlex.quote(os.path.relpath(path) if below else str(path.resolve()))


def commit_of(environment: Mapping[str, Any]) -> str | None:
    """The commit that ran, in short, and whether its files were changed."""
    git = environment.get("git")
    git = git if isinstance(git, Mapping) else environment
    commit = git.get("commit")
    if not commit:
        return None
    return f"{str(commit)[:7]}, {'with changes' if git.get('dirty') else 'clean'}"


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value)) or "none"
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return "none" if value is None else str(value)
