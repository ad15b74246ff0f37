"""A run directory as it lies there, finished, stopped or torn: what is missing stays empty."""

from __future__ import annotations

import csv
import json
from collections import namedtuple
from pathlib import Path
from typing import Any

from bioviz_core.errors import RunStateError

# A figure's name, the files that exist, and what is said about it.
SavedFigure = namedtuple("SavedFigure", "name svg png caption alt is_key notes")


class Directory:
    """The files of one run; `problems` collects those that cannot be read."""

    def __init__(self, path: Path) -> None:
        if not (path / "run.json").is_file():
            raise RunStateError(f"{path} is not a run: it has no run.json. Give a run's directory")
        self.path = path
        self.problems: list[str] = []
        self.run = self.object("run.json")
        self.config = self.object("config.json")
        self.environment = self.object("environment.json")
        self.summary = self.object("summary.json")

    def object(self, name: str) -> dict[str, Any]:
        """What a JSON file holds; empty where it is absent, and where it is torn."""
        if not (self.path / name).is_file():
            return {}
        try:
            return dict(json.loads(self.text(name)))
        except (TypeError, ValueError) as error:
            self.problems.append(f"{name} cannot be read: {error}")
            return {}

    def text(self, name: str) -> str:
        """A text file, empty where it is absent."""
        path = self.path / name
        return path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""

    def metrics(self) -> list[dict[str, Any]]:
        """The rows of metrics.jsonl, without a last line that is being written."""
        try:
            return [json.loads(line) for line in self.text("metrics.jsonl").split("\n")[:-1]]
        except ValueError as error:
            self.problems.append(f"metrics.jsonl cannot be read: {error}")
            return []

    def figures(self) -> list[SavedFigure]:
        """Every figure in the order of saving; those without a description come last."""
        folder = self.path / "figures"
        found = []
        for name in sorted({path.stem for path in folder.glob("*.[sp][vn]g")}):
            said = self.object(f"figures/{name}.json")
            svg, png = (
                path if (path := folder / f"{name}.{kind}").is_file() else None
                for kind in ("svg", "png")
            )
            caption = str(said.get("caption") or name)
            alt = str(said.get("alt") or caption.partition("\n")[0])
            notes = [str(note) for note in said.get("notes") or ()]
            figure = SavedFigure(name, svg, png, caption, alt, bool(said.get("key")), notes)
            found.append((said.get("order", float("inf")), name, figure))
        return [figure for *_, figure in sorted(found, key=lambda row: row[:2])]

    def tables(self) -> dict[str, tuple[str, list[list[str]]]]:
        """Caption and rows of every table by name; the first row is the header."""
        found: dict[str, tuple[str, list[list[str]]]] = {}
        for path in sorted((self.path / "tables").glob("*.csv")):
            with path.open(encoding="utf-8", newline="", errors="replace") as file:
                rows = list(csv.reader(file))
            caption = str(self.object(f"tables/{path.stem}.json").get("caption") or "")
            found |= {path.stem: (caption, rows)} if rows else {}
        return found

    def files(self) -> list[tuple[str, int]]:
        """Relative path and size of every file but the report and hidden ones."""
        paths = (path for path in sorted(self.path.rglob("[!.]*")) if path.is_file())
        found = [(path.relative_to(self.path).as_posix(), path.stat().st_size) for path in paths]
        return [row for row in found if row[0] not in ("report.html", "run.lock")]
