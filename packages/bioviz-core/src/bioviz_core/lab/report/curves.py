"""Metric curves of a run: at most six panels, one quantity each, seeds as thin lines."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from bioviz_core.lab.report import figures
from bioviz_core.lab.report.directory import SavedFigure
from bioviz_core.lab.report.formats import number

PANELS = 6
POINTS = 300  # per curve: more cannot be seen on 3.5 inches
_SERIES = (figures.INK, figures.BLUE, figures.AMBER, figures.VIOLET, figures.TEAL)

# Steps and values `(repeats, steps)` of each series in a panel; NaN where a repeat has no value.
Series = dict[str, tuple[np.ndarray, np.ndarray]]


def draw_curves(
    rows: Sequence[Mapping[str, Any]], folder: Path
) -> tuple[list[SavedFigure], list[str]]:
    """Save a figure per quantity into `folder`; the figures, and the quantities left out.

    Metrics with one last word, as `train_loss` and `loss`, share a panel; phases that differ in
    their number alone, as `seed-0` and `seed-1`, are repeats of one curve.
    """
    quantities: dict[str, Series] = {}
    for (metric, phase), repeats in _collect(rows).items():
        quantity = re.split(r"[_./ -]", metric)[-1]
        quantities.setdefault(quantity, {})[f"{metric} {phase}".strip()] = _aligned(repeats)
    shown = [panel for item in quantities.items() for panel in _split(*item)]
    panels = []
    for place, (quantity, series) in enumerate(shown[:PANELS]):
        figure, caption = _panel(quantity, series)
        svg, _ = figures.save(figure, folder, f"curve-{place}")
        finding = caption.partition("\n")[0]
        alt = f"Line chart of {quantity} against step: {', '.join(series)}. {finding}"
        panels.append(SavedFigure(svg.stem, svg, None, caption, alt, False, ()))
    return panels, [quantity for quantity, _ in shown[PANELS:]]


def _split(quantity: str, series: Series) -> Iterator[tuple[str, Series]]:
    """Panels of one quantity: one, or one for each first word of the phases where it is full."""
    metrics = {name.split()[0] for name in series}
    quantity = metrics.pop() if len(metrics) == 1 else quantity
    if len(series) <= len(_SERIES):
        yield quantity, _short(series)
        return
    parts: dict[str, Series] = {}
    for name, curve in series.items():
        head, _, rest = name.split()[-1].partition("-")
        parts.setdefault(head, {})[rest or name] = curve
    yield from ((f"{quantity}, {head}", part) for head, part in parts.items())


def _collect(rows: Sequence[Mapping[str, Any]]) -> dict[tuple[str, str], list[dict[float, float]]]:
    """Value by step, for each metric and phase, one dict per repeat of the phase."""
    points: dict[tuple[str, str], dict[float, float]] = {}
    for row in rows:
        for metric, value in row.items():
            if metric not in ("phase", "step", "time") and isinstance(value, int | float):
                phase = str(row.get("phase", ""))
                points.setdefault((metric, phase), {})[float(row.get("step", 0))] = float(value)
    found: dict[tuple[str, str], list[dict[float, float]]] = {}
    for (metric, phase), values in points.items():
        if len(values) > 1:  # a single point is a number, not a curve
            found.setdefault((metric, re.sub(r"[-_/. ]?\d+$", "", phase)), []).append(values)
    return found


def _aligned(repeats: list[dict[float, float]]) -> tuple[np.ndarray, np.ndarray]:
    """Common steps and values, thinned to the means of neighbours."""
    steps = np.unique([step for values in repeats for step in values])
    rows = np.array([[values.get(step, np.nan) for step in steps] for values in repeats])
    if len(steps) <= POINTS:
        return steps, rows
    cuts = np.linspace(0, len(steps), POINTS, endpoint=False).astype(int)
    sizes = np.diff([*cuts, len(steps)])
    return np.add.reduceat(steps, cuts) / sizes, np.add.reduceat(rows, cuts, axis=1) / sizes


def _short(series: Series) -> Series:
    """Names without the word that all of the panel's share."""
    words = [name.split() for name in series]
    for place in (1, 0):
        if (
            len(words) > 1
            and all(len(w) == 2 for w in words)
            and len({w[place] for w in words}) < 2
        ):
            return dict(zip([w[1 - place] for w in words], series.values(), strict=True))
    return series


@figures.style()
def _panel(quantity: str, series: Series) -> tuple[Figure, str]:
    figure, ax = figures.single()
    colors = dict(zip(series, _SERIES * len(series), strict=False))
    ends = {}
    for place, (name, (steps, rows)) in enumerate(series.items()):
        figures.seed_lines(ax, steps, rows, color=colors[name], dashed=place >= len(_SERIES))
        mean = np.ma.masked_invalid(rows).mean(0).compressed()
        ends[name] = (float(mean[0]), float(mean[-1])) if len(mean) else (np.nan, np.nan)
    values = np.concatenate([rows.ravel() for _, rows in series.values()])
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min():
        figures.log_axis(ax, "y")
    elif len(finite) and quantity.startswith("acc") and finite.min() >= 0:
        ax.set_ylim(0, max(1.0, finite.max()))
    ax.set(xlabel="step", ylabel=quantity, xmargin=0)
    figures.title(ax, quantity if len(quantity) <= 24 else f"{quantity[:23]}…")
    right = max(float(steps[-1]) for steps, _ in series.values())
    _name(ax, right, {name: last for name, (_, last) in ends.items()}, colors)
    name, (first, last) = next(iter(ends.items()))
    subject = quantity if len(series) == 1 else f"{quantity} ({name})"
    verb = "falls" if last < first else "rises" if last > first else "stays"
    change = f"from {number(first, 3)} to {number(last, 3)}" if last != first else f"at {last:.3g}"
    count = max(len(rows) for _, rows in series.values())
    how = f"Thin: {count} repeats. Thick: their mean." if count > 1 else ""
    return figure, f"{subject[:1].upper()}{subject[1:]} {verb} {change}.\n{how}"


def _name(ax: Axes, right: float, lasts: dict[str, float], colors: dict[str, str]) -> None:
    """Label curves at their ends where those are 9 points apart, else in one legend."""
    finite = {name: last for name, last in lasts.items() if np.isfinite(last)}
    heights = sorted(
        ax.transData.transform([(right, y) for y in finite.values()] or [(0, 0)])[:, 1]
    )
    if len(finite) <= 5 and (np.diff(heights) * 72 / 100 >= 9).all():
        for name, y in finite.items():
            text = name if len(lasts) > 1 else number(y, 3)
            figures.label_line(ax, right, y, text, colors[name])
    else:
        ax.legend([Line2D([], [], color=colors[name]) for name in lasts], list(lasts))
