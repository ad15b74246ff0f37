"""Metric curves of a run: at most six panels, one quantity each, seeds as thin lines."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from bioviz_core.lab.report import figures
from bioviz_core.lab.report.formats import number

PANELS = 6
POINTS = 300  # per curve: more cannot be seen on 3.5 inches
_OTHER = {"phase", "step", "time"}
_SERIES = (figures.INK, figures.BLUE, figures.AMBER, figures.VIOLET, figures.TEAL)

# One metric of one phase: steps and values, one row per repeat of the phase.
Curves = dict[str, list[tuple[np.ndarray, np.ndarray]]]


@dataclass(frozen=True, slots=True)
class Panel:
    """One panel: what it shows, and what to say below it."""

    name: str
    caption: str
    alt: str


def draw_curves(rows: Sequence[Mapping[str, Any]], folder: Path) -> tuple[list[Panel], list[str]]:
    """Save a figure per quantity into `folder`; the panels, and the quantities left out.

    Metrics with one last word, as `train_loss` and `loss`, share a panel; phases that differ in
    their number alone, as `seed-0` and `seed-1`, are repeats of one curve.
    """
    quantities: dict[str, Curves] = {}
    for (metric, phase), repeats in _collect(rows).items():
        quantity = re.split(r"[_./ -]", metric)[-1]
        quantities.setdefault(quantity, {})[f"{metric} {phase}".strip()] = repeats
    shown = dict(list(quantities.items())[:PANELS])
    panels = []
    for place, (quantity, curves) in enumerate(shown.items()):
        metrics = {name.split()[0] for name in curves}
        quantity = metrics.pop() if len(metrics) == 1 else quantity
        figure, caption = _panel(quantity, _short(curves))
        name = f"curve-{place}"
        figures.save(figure, folder, name)
        alt = f"Line chart of {quantity} against step: {', '.join(_short(curves))}. {caption}"
        panels.append(Panel(name, caption, alt.replace("\n", " ")))
    return panels, [name for name in quantities if name not in shown]


def _collect(
    rows: Sequence[Mapping[str, Any]],
) -> dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]]:
    points: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for row in rows:
        for metric, value in row.items():
            if metric not in _OTHER and isinstance(value, int | float):
                key = metric, str(row.get("phase", ""))
                points.setdefault(key, []).append((float(row.get("step", 0)), float(value)))
    found: dict[tuple[str, str], list[tuple[np.ndarray, np.ndarray]]] = {}
    for (metric, phase), pairs in points.items():
        if len(pairs) > 1:  # a single point is a number, not a curve
            steps, values = np.array(pairs).T
            base = re.sub(r"[-_/. ]?\d+$", "", phase)
            found.setdefault((metric, base), []).append(_thin(steps, values))
    return found


def _thin(steps: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """At most `POINTS` points, each the mean over neighbours."""
    if len(steps) <= POINTS:
        return steps, values
    parts = np.array_split(np.arange(len(steps)), POINTS)
    return tuple(np.array([row[part].mean() for part in parts]) for row in (steps, values))  # type: ignore[return-value]


def _short(curves: Curves) -> Curves:
    """Names without the word that all curves of the panel share."""
    words = [name.split() for name in curves]
    if len(words) == 1:
        return curves
    for place in (1, 0):
        if all(len(w) == 2 for w in words) and len({w[place] for w in words}) == 1:
            return dict(zip([w[1 - place] for w in words], curves.values(), strict=True))
    return curves


@figures.style()
def _panel(quantity: str, curves: Curves) -> tuple[Figure, str]:
    figure, ax = figures.single()
    ends = []
    colors = dict(zip(curves, _SERIES * len(curves), strict=False))
    for place, (name, repeats) in enumerate(curves.items()):
        ends.append((name, colors[name], *_draw(ax, repeats, colors[name], place >= len(_SERIES))))
    values = np.concatenate([row for repeats in curves.values() for _, row in repeats])
    finite = values[np.isfinite(values)]
    if len(finite) and finite.min() > 0 and finite.max() > 30 * finite.min():
        figures.log_axis(ax, "y")
    elif len(finite) and finite.min() >= 0 and finite.max() <= 1.02:
        ax.set_ylim(0, max(1.0, finite.max()) if quantity.startswith("acc") else None)
    ax.set(xlabel="step", ylabel=quantity, xmargin=0)
    figures.title(ax, quantity if len(quantity) <= 24 else f"{quantity[:23]}…")
    _name(ax, ends)
    _, _, first, (_, last) = ends[0]
    count = max(len(repeats) for repeats in curves.values())
    subject = quantity if len(curves) == 1 else f"{quantity} ({ends[0][0]})"
    verb = "falls" if last < first else "rises" if last > first else "stays"
    change = f"from {number(first, 3)} to {number(last, 3)}" if last != first else f"at {last:.3g}"
    how = f"Thin: {count} repeats. Thick: their mean." if count > 1 else ""
    return figure, f"{subject[:1].upper()}{subject[1:]} {verb} {change}.\n{how}"


def _draw(
    ax: Axes, repeats: list[tuple[np.ndarray, np.ndarray]], color: str, dashed: bool
) -> tuple[float, tuple[float, float]]:
    """The curve of one series; its first value, and where it ends."""
    steps = repeats[0][0]
    if all(np.array_equal(steps, other) for other, _ in repeats):
        rows = np.stack([row for _, row in repeats])
        figures.seed_lines(ax, steps, rows, color=color, dashed=dashed)
        mean = np.ma.masked_invalid(rows).mean(0).filled(np.nan)
        return float(mean[0]), (float(steps[-1]), float(mean[-1]))
    for some, row in repeats:
        ax.plot(some, row, color=color, lw=0.6, alpha=0.6, ls="--" if dashed else "-")
    lasts = [row[-1] for _, row in repeats]
    firsts = [row[0] for _, row in repeats]
    return float(np.mean(firsts)), (float(max(s[-1] for s, _ in repeats)), float(np.mean(lasts)))


def _name(ax: Axes, ends: list[tuple[str, str, float, tuple[float, float]]]) -> None:
    """Label curves at their ends where those are 9 points apart, else in one legend."""
    finite = [end for end in ends if np.isfinite(end[3][1])]
    if len(ends) == 1:
        for _, color, _, (x, y) in finite:
            figures.label_line(ax, x, y, number(y, 3), color)
        return
    heights = sorted(ax.transData.transform([end[3] for end in finite])[:, 1] * 72 / 100)
    if len(finite) == len(ends) <= 5 and (np.diff(heights) >= 9).all():
        for name, color, _, (x, y) in finite:
            figures.label_line(ax, x, y, name, color)
        return
    from matplotlib.lines import Line2D

    marks = [Line2D([], [], color=color) for _, color, _, _ in ends]
    ax.legend(marks, [name for name, *_ in ends], loc="best", handlelength=1.2)
