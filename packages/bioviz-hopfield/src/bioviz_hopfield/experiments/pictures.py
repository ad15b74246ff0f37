"""The figures of the capacity experiment, with captions computed from their numbers."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from bioviz_core.lab.report import figures
from bioviz_core.lab.run import Run
from matplotlib.axes import Axes

from bioviz_hopfield.experiments.certificates import Separated
from bioviz_hopfield.experiments.recall import Rates, Recalled, half_recalled

COLOR = {"softmax": figures.TEAL, "entmax15": figures.BLUE, "sparsemax": figures.VIOLET}
DASHED = ("sparsemax",)


def capacity(
    run: Run, rates: Rates, separated: Separated, descents: Mapping[str, np.ndarray]
) -> None:
    """Recall by number of patterns, errors under their bounds, and the descent of the energy."""
    figure, (left, middle, right) = figures.double(3, height=2.7)
    _draw_rates(left, rates)
    _draw_bounds(middle, separated)
    _draw_descents(right, descents)
    (low, first), *_, (high, last) = rates.items()
    caption = (
        f"Half of the random patterns come back from a memory of {_half(first)} in {low} "
        f"dimensions and of {_half(last)} in {high}.\n"
        "a: patterns recalled by one update, within a tenth of their norm; one line per dimension. "
        f"b: error of {len(separated.errors):,} well separated patterns after one update, below "
        "the theorem's bound wherever a dot is under the line. c: energy above its last level, a "
        "line per state, which ends where nothing is left to fall."
    )
    run.figure("capacity", figure, caption, key=True)


def digits(run: Run, recalled: Recalled, *, count: int = 10) -> None:
    """Digits, their upper halves, and what the memory makes of them; wrong ones are shown first."""
    order = np.argsort(recalled.right, kind="stable")
    chosen = np.sort(np.concatenate([order[:3], order[-(count - 3) :]]))
    figure, axes = figures.image_grid(
        3, count, row_labels=["stored", "cue", "recalled"], row_height=0.62
    )
    for place, column in zip(chosen, axes.T, strict=True):
        figures.show_image(column[0], recalled.stored[place])
        figures.show_image(column[1], recalled.cues[place])
        figures.show_image(column[2], recalled.found[place], right=bool(recalled.right[place]))
    total, good = len(recalled.right), int(recalled.right.sum())
    caption = (
        f"{good} of {total} digits come back whole from their upper half.\n"
        f"Three updates at beta 4 in a memory of the {total}; grey in a cue is zero. A red frame "
        "and a cross: what came back is another digit, or a mixture. Of the right ones "
        f"{count - min(3, total - good)} are shown."
    )
    run.figure("digits", figure, caption)


def _half(of: Mapping[int, float]) -> str:
    half = half_recalled(of)
    return f"{half:,.0f}" if half else f"more than {max(of):,}"


def _draw_rates(ax: Axes, rates: Rates) -> None:
    with figures.style():
        for number, (dim, of) in enumerate(rates.items()):
            shade = figures.RAMP[min(3, round(3 * number / max(1, len(rates) - 1)))]
            sizes, shares = np.array([*of]), 100 * np.array([*of.values()])
            ax.plot(sizes, shares, color=shade, lw=1.6, marker="o", ms=3)
            half = half_recalled(of)
            x, y = (half, 50.0) if half else (sizes[-1], shares[-1])
            figures.label_line(ax, x, y, f"{dim}", figures.INK)
    figures.log_axis(ax, "x", ticks=(10, 1000, 100_000))
    ax.set(xlabel="patterns in the memory", ylabel="recalled (%)", ylim=(0, 104))
    figures.title(ax, "Recall by dimension", "a")


def _draw_bounds(ax: Axes, separated: Separated, most: int = 1500) -> None:
    errors, bounds = separated.errors[:most], separated.bounds[:most]
    line = np.array([1e-10, 1.0])
    with figures.style():
        ax.plot(bounds, errors, ".", color=figures.TEAL, ms=2, alpha=0.5, rasterized=True)
        ax.plot(line, line, color=figures.MUTED, lw=0.8, ls=figures.DASH)
        ax.annotate(
            "bound",
            (1e-6, 1e-6),
            (-4, 4),
            textcoords="offset points",
            ha="right",
            color=figures.MUTED,
        )
    ticks = (1e-9, 1e-6, 0.001, 1)
    figures.log_axis(ax, "x", ticks=ticks)
    figures.log_axis(ax, "y", ticks=ticks)
    ax.set(xlabel="bound on the error", ylabel="error", xlim=(1e-10, 1), ylim=(1e-13, 1))
    figures.title(ax, "Separated patterns", "b")


def _draw_descents(ax: Axes, descents: Mapping[str, np.ndarray]) -> None:
    with figures.style():
        for separation, levels in descents.items():
            shown = np.where(levels > 1e-6, levels, np.nan)
            for row in shown:
                dashes = figures.DASH if separation in DASHED else "-"
                ax.plot(row, color=COLOR[separation], lw=0.8, alpha=0.7, ls=dashes)
        for separation, color in COLOR.items():
            dashes = figures.DASH if separation in DASHED else "-"
            ax.plot([], [], color=color, lw=1.6, ls=dashes, label=separation)
        ax.legend(loc="upper right", handlelength=2.0, labelspacing=0.25)
    figures.log_axis(ax, "y", ticks=(0.0001, 0.01, 1, 100))
    ax.set(xlabel="update", ylabel="energy above the last")
    figures.title(ax, "Descent of the energy", "c")
