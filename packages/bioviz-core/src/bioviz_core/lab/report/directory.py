"""A run directory as it lies there, finished, stopped or torn: what is missing stays empty."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bioviz_core.errors import RunStateError

_OWN = {"report.html", "run.lock"}


@dataclass(frozen=True, slots=True)
class SavedFigure:
    """A figure's files, whichever exist, and what is said about it."""

    name: str
    svg: Path | None
    png: Path | None
    caption: str
    alt: str
    is_key: bool
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SavedTable:
    """A table's header and rows, as text."""

    name: str
    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass
class Directory:
    """The files of one run; `problems` collects those that cannot be read."""

    path: Path
    problems: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not (self.path / "run.json").is_file():
            raise RunStateError(
                f"{self.path} is not a run: it has no run.json. Give a run's own directory, "
                "as in runs/ssn-circuit-20260131-142200-7f3a"
            )
        self.run = self.object("run.json")
        self.config = self.object("config.json")
        self.environment = self.object("environment.json")
        self.summary = self.object("summary.json")

    def object(self, name: str) -> dict[str, Any]:
        """What a JSON file holds; empty where it is absent, and where it is torn."""
        try:
            found = json.loads((self.path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            self.problems.append(f"{name} cannot be read: {error}")
            return {}
        return found if isinstance(found, dict) else {}

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, without a last line that is being written."""
        rows = []
        for line in self.text("metrics.jsonl").split("\n")[:-1]:
            try:
                rows.append(dict(json.loads(line)))
            except (ValueError, TypeError):
                self.problems.append(f"metrics.jsonl has a damaged row: {line[:60]}")
        return rows

    def text(self, name: str) -> str:
        """A text file, empty where it is absent."""
        path = self.path / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def figures(self) -> list[SavedFigure]:
        """Every figure in the order of saving; those without a description come last."""
        folder = self.path / "figures"
        found = []
        for name in sorted({path.stem for path in folder.glob("*.[sp][vn]g")}):
            said = self.object(f"figures/{name}.json")
            caption = str(said.get("caption") or name)
            svg, png = (folder / f"{name}.{kind}" for kind in ("svg", "png"))
            figure = SavedFigure(
                name, svg if svg.is_file() else None, png if png.is_file() else None, caption,
                str(said.get("alt") or caption.partition("\n")[0]), bool(said.get("key")),
                tuple(map(str, said.get("notes") or ())),
            )  # fmt: skip
            found.append((said.get("order", float("inf")), figure))
        return [figure for _, figure in sorted(found, key=lambda pair: (pair[0], pair[1].name))]

    def tables(self) -> list[SavedTable]:
        """Every table by name."""
        found = []
        for path in sorted((self.path / "tables").glob("*.csv")):
            with path.open(encoding="utf-8", newline="", errors="replace") as file:
                rows = [tuple(row) for row in csv.reader(file)]
            caption = str(self.object(f"tables/{path.stem}.json").get("caption") or "")
            if rows:
                found.append(SavedTable(path.stem, caption, rows[0], tuple(rows[1:])))
        return found

    def files(self) -> list[tuple[str, int]]:
        """Relative path and size of every file but the report, hidden ones left out."""
        found = []
        for path in sorted(self.path.rglob("*")):
            relative = path.relative_to(self.path)
            hidden = any(part.startswith(".") for part in relative.parts)
            if path.is_file() and not hidden and relative.as_posix() not in _OWN:
                found.append((relative.as_posix(), path.stat().st_size))
        return found
