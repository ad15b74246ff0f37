"""Reading a run back: its configuration, numbers, tables, arrays, figures and models."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from contextlib import suppress
from functools import cached_property
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from bioviz_core.errors import RunStateError, UnknownNameError
from bioviz_core.lab import rundir
from bioviz_core.lab.atomic import read_json, read_lines
from bioviz_core.lab.pretrained import load_model


class RunRecord:
    """A run directory, read when asked.

    `metrics` and `table` are pandas frames where pandas is installed, else a list of rows and a
    dict of columns.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)

    def __repr__(self) -> str:
        return f"RunRecord({str(self.path)!r}, {self.status})"

    @property
    def manifest(self) -> dict[str, Any]:
        """`run.json`: what was run, when, and how it ended."""
        return rundir.read_manifest(self.path)

    @property
    def id(self) -> str:
        """The name of the run."""
        return str(self.manifest["id"])

    @property
    def status(self) -> str:
        """`created`, `running`, `finished`, `failed`, `stopped` or `crashed`."""
        return rundir.status(self.path)

    @cached_property
    def config(self) -> dict[str, Any]:
        """Experiment, preset, seed, and every option."""
        return dict(read_json(self.path / "config.json"))

    @cached_property
    def environment(self) -> dict[str, Any]:
        """Versions, devices and commit."""
        return dict(read_json(self.path / "environment.json"))

    @property
    def summary(self) -> dict[str, Any]:
        """`scalars` by name, `numbers` of the report, and judged `claims`; of a finished run."""
        if not (self.path / "summary.json").is_file():
            raise RunStateError(f"{self.path} is {self.status} and has no summary: bioviz resume")
        return dict(read_json(self.path / "summary.json"))

    @property
    def claims(self) -> list[dict[str, Any]]:
        """The judged claims."""
        return list(self.summary["claims"])

    @property
    def metrics(self) -> Any:
        """Every logged row."""
        return _framed(read_lines(self.path / "metrics.jsonl"))

    def table(self, name: str) -> Any:
        """A table, its numbers as numbers."""
        with self._file("tables", name, ".csv").open(newline="", encoding="utf-8") as file:
            header, *rows = csv.reader(file)
        columns = zip(*rows, strict=True) if rows else [()] * len(header)
        return _framed(dict(zip(header, map(_numbers, columns), strict=True)))

    def array(self, name: str) -> np.ndarray:
        """An array; a large one is read from the disk as it is used."""
        file = self._file("arrays", name, ".npy")
        return np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))

    def figure(self, name: str) -> Path:
        """The PNG of a figure; the SVG lies beside it."""
        return self._file("figures", name, ".png")

    def model(self, name: str | None = None) -> Any:
        """A saved model, built again; without a name, the only one."""
        names = self.names("models") if name is None else [name]
        if len(names) != 1:
            there = f"name one of {', '.join(names)}" if names else "it saved none"
            raise RunStateError(f"{self.path} has {len(names)} models: {there}")
        return load_model(self._file("models", names[0], ".safetensors"))

    def names(self, kind: str) -> list[str]:
        """What there is under `tables`, `arrays`, `figures` or `models`."""
        endings = {"tables": "csv", "arrays": "npy", "figures": "svg", "models": "safetensors"}
        return sorted(file.stem for file in (self.path / kind).glob(f"[!.]*.{endings[kind]}"))

    def resume(self) -> RunRecord:
        """Go on with a run that did not finish."""
        from bioviz_core.lab.execute import resume

        return resume(self.path)

    def _file(self, kind: str, name: str, suffix: str) -> Path:
        file = rundir.place(self.path, kind, name, suffix)
        if not file.is_file():
            raise UnknownNameError(name, self.names(kind), kind.removesuffix("s"))
        return file


def open_run(path: str | Path) -> RunRecord:
    """Read a run back; `RunStateError` where the path is no run directory."""
    rundir.read_manifest(Path(path))
    return RunRecord(path)


def runs(folder: str | Path = "runs") -> list[RunRecord]:
    """The runs in a folder, oldest first."""
    return [RunRecord(path) for path in rundir.listing(Path(folder))]


def _framed(data: Any) -> Any:
    return import_module("pandas").DataFrame(data) if find_spec("pandas") else data


def _numbers(cells: Sequence[str]) -> list[Any]:
    for kind in (int, float):
        with suppress(ValueError):
            return [kind(cell) for cell in cells]
    return list(cells)
