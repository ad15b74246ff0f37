"""The run report: one HTML file from what lies in the run directory, finished or not."""

from __future__ import annotations

import base64
import re
import tempfile
import webbrowser
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment
from markupsafe import Markup

from bioviz_core.errors import DataError
from bioviz_core.lab import claims
from bioviz_core.lab.atomic import write_text
from bioviz_core.lab.report import formats, tokens, verdicts
from bioviz_core.lab.report import provenance as made
from bioviz_core.lab.report.directory import Directory, SavedFigure
from bioviz_core.lab.report.svg import inline_svg

if TYPE_CHECKING:
    from bioviz_core.lab.record import RunRecord

MAX_REPORT = 5_000_000  # bytes
MAX_DRAWING = 250_000  # bytes of inline SVG; larger drawings are shown as PNG
SINGLE = 300  # points: wider drawings take the whole column
MAX_ROWS = 200
LOG_TAIL = 20  # lines
_BOX = re.compile(r'viewBox="\S+ \S+ ([\d.]+) ')
_BANNERS = {
    "failed": "This run ended with an error.",
    "stopped": "This run was stopped and can go on.",
    "running": "This run goes on, or was killed.",
    "created": "This run has not begun.",
}


@dataclass(frozen=True, slots=True)
class Card:
    """A figure as the page shows it: `forms` are its drawings, the best first."""

    id: str
    finding: str
    reading: str
    notes: Sequence[str]
    wide: bool
    forms: Sequence[Markup]


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
    saved = run.figures()
    cards = [_card(figure, run.problems) for figure in saved]
    curves, curves_note = _curves(run)
    cards += curves
    key = next((place for place, figure in enumerate(saved) if figure.is_key), 0)
    context = {
        **_header(run), **_claims(run), **made.settings(run), **made.repeat_and_cite(run),
        "banner": _banner(run), "tiles": run.summary.get("numbers") or [],
        "tables": [_table(name, *table) for name, table in run.tables().items()],
        "curves_note": curves_note, "problems": run.problems,
        "light": Markup(tokens.css("light")), "dark": Markup(tokens.css("dark")),
        "style": Markup(_own("style.css")),
    }  # fmt: skip
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters |= {"number": formats.number, "size": formats.size, "text": formats.text}
    template = environment.from_string(_own("template.html"))
    too_large = False
    while True:
        shown = cards[: len(saved)]
        page = template.render(
            context, key_figure=shown[key] if shown else None, curves=cards[len(saved) :],
            figures=shown[:key] + shown[key + 1 :], too_large=too_large,
        )  # fmt: skip
        smaller = [place for place, card in enumerate(cards) if len(card.forms) > 1]
        if len(page.encode()) <= MAX_REPORT or not smaller:
            return page
        largest = max(smaller, key=lambda place: len(cards[place].forms[0]))
        cards[largest] = replace(cards[largest], forms=cards[largest].forms[1:])
        too_large = True


def _header(run: Directory) -> dict[str, Any]:
    said, seeds = run.run, run.config.get("seeds")
    facts = {
        "preset": said.get("preset"),
        "seeds" if seeds else "seed": seeds or formats.number(said.get("seed")),
        "finished": formats.moment(said["finished"]) if said.get("finished") else None,
        "took": formats.elapsed(said.get("created"), said.get("finished")),
        "commit": made.commit_of(run.environment),
        **dict(said.get("facts") or {}),
    }
    name = str(said.get("experiment") or run.path.name)
    return {
        "experiment": name,
        "title": said.get("title") or name,
        "question": said.get("question"),
        "facts": {label: text for label, text in facts.items() if text not in (None, "")},
    }


def _banner(run: Directory) -> dict[str, Any] | None:
    status = str(run.run.get("status") or "unknown")
    if status == "finished":
        return None
    last = (run.metrics() or [{}])[-1]
    where = " ".join(f"{key} {last[key]}" for key in ("phase", "step") if key in last)
    lines = run.text("log.txt").rstrip().split("\n")[-LOG_TAIL:]
    return {
        "status": status.capitalize(),
        "text": _BANNERS.get(status, "") + (f" Last row: {where}." if where else ""),
        "error": "\n".join(lines) if status == "failed" else "",
        "command": f"bioviz resume {made.shell_path(run.path)}",
    }


def _claims(run: Directory) -> dict[str, Any]:
    found: tuple[claims.Verdict, ...] = ()
    try:
        found = tuple(claims.read_verdicts(run.summary.get("claims") or ()))
    except (KeyError, TypeError) as error:  # written by another version, or by hand
        run.problems.append(f"summary.json has claims of another format: {error!r}")
    if "claims" not in run.summary:
        declared, _ = made.experiment(run, "load")
        judged = (claims.judge(c, {}, preset="smoke") for c in getattr(declared, "claims", ()))
        # Nothing is broken before it was tried.
        found = tuple(replace(verdict, verdict="not judged") for verdict in judged)
    tally = claims.tally(found)
    return {
        "claims": [verdicts.claim_row(verdict) for verdict in found],
        "claims_tally": ", ".join(f"{count} {word}" for word, count in tally.items()),
        "claims_lead": verdicts.explain(found),
    }


def _card(figure: SavedFigure, problems: list[str]) -> Card:
    finding, _, reading = figure.caption.strip().partition("\n")
    forms, wide = [], True
    if figure.svg is not None:
        try:
            drawing = inline_svg(figure.svg, f"{figure.name}-", alt=figure.alt)
            if box := _BOX.search(drawing):
                wide = float(box[1]) > SINGLE
            if len(drawing.encode()) <= MAX_DRAWING or figure.png is None:
                forms.append(Markup(drawing))
        except DataError as error:
            problems.append(str(error))
    if figure.png is not None:
        tag = Markup('<img class="raster" alt="{}" src="data:image/png;base64,{}">')
        data = base64.b64encode(figure.png.read_bytes()).decode()
        forms.append(tag.format(figure.alt, data))
    if file := figure.png or figure.svg:
        forms.append(Markup('<p><a href="figures/{0}">{0}</a></p>').format(file.name))
    # A picture larger than the drawing saves nothing.
    kept = [form for place, form in enumerate(forms) if place == 0 or len(form) < len(forms[0])]
    name, words = f"figure-{figure.name}", " ".join(reading.split())
    return Card(name, finding, words, figure.notes, wide, kept)


def _curves(run: Directory) -> tuple[list[Card], str]:
    if not (rows := run.metrics()):
        return [], ""
    try:
        from bioviz_core.lab.report.curves import draw_curves
    except ImportError as error:
        return [], f"No curves without matplotlib ({error}): pip install 'bioviz-core[plots]'"
    with tempfile.TemporaryDirectory() as folder:
        panels, left = draw_curves(rows, Path(folder))
        cards = [_card(panel, run.problems) for panel in panels]
    cards = [replace(card, forms=card.forms[:1]) for card in cards]
    return cards, f"Also in metrics.jsonl: {', '.join(left)}." if left else ""


def _table(name: str, caption: str, rows: list[list[str]]) -> Mapping[str, Any]:
    header, *body = rows
    shown = body[:MAX_ROWS]
    columns = zip(*shown, strict=False)
    numeric = [place for place, cells in enumerate(columns) if all(map(_is_number, cells))]
    text = [[_cell(c) if p in numeric else c for p, c in enumerate(row)] for row in shown]
    return {
        "name": name, "count": len(body), "caption": caption, "header": header, "rows": text,
        "numeric": numeric,
    }  # fmt: skip


def _is_number(cell: str) -> bool:
    try:
        float(cell or "nan")
    except ValueError:
        return False
    return True


def _cell(cell: str) -> str:
    return formats.number(int(cell) if cell.lstrip("-").isdigit() else float(cell or "nan"))


def _own(name: str) -> str:
    return files("bioviz_core.lab.report").joinpath(name).read_text(encoding="utf-8")
