"""The run report: one HTML file from what lies in the run directory, finished or not."""

from __future__ import annotations

import base64
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree

from jinja2 import Environment
from markupsafe import Markup

from bioviz_core.errors import DataError
from bioviz_core.lab import claims
from bioviz_core.lab.atomic import write_text
from bioviz_core.lab.report import formats, tokens, verdicts
from bioviz_core.lab.report.directory import Directory, SavedFigure, SavedTable
from bioviz_core.lab.report.provenance import (
    commit_of,
    experiment,
    repeat_and_cite,
    settings,
    shell_path,
)
from bioviz_core.lab.report.svg import inline_svg

if TYPE_CHECKING:
    from bioviz_core.lab.record import RunRecord

MAX_REPORT = 5_000_000  # bytes
MAX_DRAWING = 250_000  # bytes of inline SVG; larger drawings are shown as PNG
SINGLE = 300  # points: wider drawings take the whole column
LONG_TABLE, MAX_ROWS = 12, 200
LOG_TAIL = 20  # lines


@dataclass(frozen=True, slots=True)
class Card:
    """A figure as the page shows it: `forms` are its drawings, the best first."""

    id: str
    finding: str
    reading: str
    notes: tuple[str, ...]
    wide: bool
    forms: tuple[Markup, ...]

    @property
    def drawing(self) -> Markup:
        """The form in use."""
        return self.forms[0]


def report(where: str | Path | RunRecord, *, open: bool = False) -> Path:
    """Write `report.html` from a run directory alone, half-written ones too; its path.

    The page needs no network and runs no script. `open` shows it in the browser. Raises
    `RunStateError` where there is no run.
    """
    path = Path(where) if isinstance(where, str | Path) else where.path
    written = path / "report.html"
    write_text(written, _page(Directory(path)))
    if open:
        webbrowser.open(written.resolve().as_uri())
    return written


def _page(run: Directory) -> str:
    notes: list[str] = []
    saved = run.figures()
    cards = [_card(figure, run.problems) for figure in saved]
    curves, curves_note = _curves(run)
    key = next((place for place, figure in enumerate(saved) if figure.is_key), 0)
    context = {
        **_header(run), **_claims(run), **settings(run), **repeat_and_cite(run),
        "banner": _banner(run), "tiles": _tiles(run.summary.get("numbers") or []),
        "across": _across(len(run.summary.get("numbers") or [])),
        "tables": [_table(table) for table in run.tables()],
        "curves_note": curves_note, "problems": run.problems, "notes": notes,
        "light": Markup(tokens.css("light")), "dark": Markup(tokens.css("dark")),
        "style": Markup(_own("style.css")),
    }  # fmt: skip
    template = Environment(autoescape=True, trim_blocks=True).from_string(_own("template.html"))
    cards += curves
    while True:
        shown = cards[: len(saved)]
        context["key_figure"] = shown[key] if shown else None
        context["figures"] = shown[:key] + shown[key + 1 :]
        context["curves"] = cards[len(saved) :]
        page = template.render(context)
        demotable = [place for place, card in enumerate(cards) if len(card.forms) > 1]
        if len(page.encode()) <= MAX_REPORT or not demotable:
            return page
        largest = max(demotable, key=lambda place: len(cards[place].drawing))
        cards[largest] = replace(cards[largest], forms=cards[largest].forms[1:])
        notes[:] = ["Large figures are shown as pixels or linked, to keep this page under 5 MB."]


# Header


def _header(run: Directory) -> dict[str, Any]:
    said, commit = run.run, commit_of(run.environment)
    seeds = run.config.get("seeds")
    facts = [
        ("preset", said.get("preset") or run.config.get("preset")),
        ("seeds" if seeds else "seed", seeds or formats.number(said.get("seed"))),
        ("finished", formats.moment(said["finished"]) if said.get("finished") else None),
        ("took", formats.elapsed(said.get("created"), said.get("finished"))),
        ("commit", commit),
        *dict(said.get("facts") or {}).items(),
    ]
    name = str(said.get("experiment") or run.config.get("experiment") or run.path.name)
    return {
        "experiment": name,
        "title": said.get("title") or name,
        "question": said.get("question"),
        "facts": [(label, text) for label, text in facts if text not in (None, "")],
    }


def _banner(run: Directory) -> dict[str, Any] | None:
    status = str(run.run.get("status") or "unknown")
    if status == "finished":
        return None
    rows = run.metrics()
    step = f" Last row: {_where(rows[-1])}." if rows else ""
    texts = {
        "failed": "This run ended with an error.",
        "stopped": f"This run was stopped and can go on.{step}",
        "running": f"This run goes on, or was killed.{step}",
        "created": "This run has not begun.",
    }
    lines = run.text("log.txt").rstrip().split("\n")[-LOG_TAIL:]
    error = str(run.run.get("error") or "\n".join(lines)) if status == "failed" else ""
    return {
        "status": status.capitalize(),
        "text": texts.get(status, f"This run has no known status.{step}"),
        "failed": status == "failed",
        "error": error,
        "todo": "Continue from its last checkpoint:",
        "command": f"bioviz resume {shell_path(run.path)}",
    }


def _where(row: Mapping[str, Any]) -> str:
    return " ".join(f"{key} {row[key]}" for key in ("phase", "step") if key in row)


# Claims and numbers


def _claims(run: Directory) -> dict[str, Any]:
    rows = run.summary.get("claims")
    if rows is None:
        declared, _ = experiment(run, "load")
        found = tuple(claims.judge(c, {}, preset="smoke") for c in getattr(declared, "claims", ()))
        # Nothing is broken before it was tried.
        found = tuple(replace(verdict, verdict="not judged") for verdict in found)
    else:
        try:
            found = claims.read_verdicts(rows)
        except (KeyError, TypeError) as error:  # written by another version, or by hand
            run.problems.append(f"summary.json has claims of another format: {error!r}")
            found = ()
    tally = claims.tally(found)
    return {
        "claims": [verdicts.claim_row(verdict) for verdict in found],
        "claims_tally": ", ".join(f"{count} {word}" for word, count in tally.items()),
        "claims_lead": verdicts.explain(found),
    }


def _tiles(numbers: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    return [
        {
            "label": str(row.get("label", "")),
            "value": formats.number(row.get("value")),
            "unit": str(row.get("unit") or ""),
        }
        for row in numbers
    ]


def _across(count: int) -> int:
    """Columns that leave no ragged last row, as far as can be."""
    return count if count <= 4 else 3 if count in (5, 6, 9) else 4


# Figures


def _card(figure: SavedFigure, problems: list[str]) -> Card:
    finding, _, reading = figure.caption.strip().partition("\n")
    forms, wide = [], True
    if figure.svg is not None:
        try:
            wide = _width(figure.svg) > SINGLE
            drawing = inline_svg(figure.svg, f"{figure.name}-", alt=figure.alt)
            if len(drawing.encode()) <= MAX_DRAWING or figure.png is None:
                forms.append(Markup(drawing))
        except DataError as error:
            problems.append(str(error))
    if figure.png is not None:
        forms.append(_image(figure.png, figure.alt))
    link = Markup('<p><a href="figures/{0}">{0}</a></p>')
    file = figure.png or figure.svg
    forms.append(link.format(file.name if file else figure.name))
    # A picture larger than the drawing saves nothing.
    kept = [form for place, form in enumerate(forms) if place == 0 or len(form) < len(forms[0])]
    notes, reading = figure.notes, " ".join(reading.split())
    return Card(f"figure-{figure.name}", finding, reading, notes, wide, tuple(kept))


def _image(path: Path, alt: str) -> Markup:
    data = base64.b64encode(path.read_bytes()).decode()
    tag = Markup('<img class="raster" alt="{}" src="data:image/png;base64,{}">')
    return tag.format(alt, data)


def _width(path: Path) -> float:
    """Width of a drawing in points, from its first tag."""
    try:
        for _, root in ElementTree.iterparse(path, ["start"]):
            return float((root.get("viewBox") or "0 0 0 0").split()[2])
    except (ElementTree.ParseError, ValueError, IndexError) as error:
        raise DataError(f"{path} is not SVG: {error}") from error
    return 0.0


def _curves(run: Directory) -> tuple[list[Card], str]:
    rows = run.metrics()
    if not rows:
        return [], ""
    try:
        from bioviz_core.lab.report.curves import draw_curves
    except ImportError as error:
        return [], f"No curves without matplotlib ({error}): pip install 'bioviz-core[plots]'"
    with tempfile.TemporaryDirectory() as folder:
        panels, left = draw_curves(rows, Path(folder))
        cards = [
            _card(
                SavedFigure(
                    panel.name, Path(folder, f"{panel.name}.svg"), None, panel.caption, panel.alt,
                    False, (),
                ),
                run.problems,
            )
            for panel in panels
        ]  # fmt: skip
    cards = [replace(card, forms=card.forms[:1]) for card in cards]
    return cards, f"Also in metrics.jsonl: {', '.join(left)}." if left else ""


# Tables


def _table(table: SavedTable) -> dict[str, Any]:
    shown = table.rows[:MAX_ROWS]
    columns = list(zip(*shown, strict=False))
    numeric = [place for place, cells in enumerate(columns) if all(map(_is_number, cells))]
    rows = [[_cell(c) if p in numeric else c for p, c in enumerate(row)] for row in shown]
    more = len(table.rows) > MAX_ROWS
    return {
        "name": table.name,
        "count": formats.plural(len(table.rows), "row"),
        "caption": table.caption,
        "header": table.header,
        "rows": rows,
        "numeric": numeric,
        "short": len(table.rows) <= LONG_TABLE,
        "cut": f"First {MAX_ROWS} rows; all are in tables/{table.name}.csv." if more else "",
    }


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return not cell
    return True


def _cell(cell: str) -> str:
    value = float(cell or "nan")
    return formats.number(int(cell) if cell.lstrip("-").isdigit() else value)


def _own(name: str) -> str:
    return files("bioviz_core.lab.report").joinpath(name).read_text(encoding="utf-8")
