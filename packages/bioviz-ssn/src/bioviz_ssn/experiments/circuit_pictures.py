"""The figures of the circuit, with captions computed from their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from bioviz_core.interfaces import Result
from bioviz_core.lab.report import figures
from bioviz_core.lab.run import Run
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection

from bioviz_ssn.geometry import GridSpec

if TYPE_CHECKING:
    from bioviz_ssn.experiments.circuit import Rings

STRENGTHS = (5.0, 10.0, 20.0, 40.0)
"""Contrasts whose orientation tuning is drawn."""
MAP = GridSpec()


def circuit(
    run: Run, response: Result, orientations: np.ndarray, curves: np.ndarray, preferred: np.ndarray
) -> None:
    """Contrast response, tuning at four contrasts, and an orientation map: the key figure."""
    figure, (left, middle, right) = figures.double(3, height=2.7, widths=(1.15, 1, 0.85))
    _draw_contrast(left, response)
    _draw_tuning(middle, orientations, curves)
    _draw_map(right, preferred)
    crossing, peak = (response.scalars[f"{name}_E"] for name in ("crossing", "peak_exponent"))
    caption = (
        f"Up to contrast {crossing:.0f} E rates grow faster than the stimulus, with exponents up "
        f"to {peak:.1f}; beyond it they grow slower.\n"
        "a: a grating at 90° on the ring of Rubin et al. 2015, E solid, I dashed; the grey line "
        "has slope 2, as cells without recurrence would. b: E cells by preferred orientation. "
        "c: preferred orientations of a patch of V1 as the two-layer model has them, one square "
        "for each of its points."
    )
    run.figure("circuit", figure, caption, key=True)


def plaids(run: Run, plaid: Result, feedforward: np.ndarray, sets: Sequence[Rings]) -> None:
    """The plaid weight by contrast, of Rubin's ring, of rings with other weights, and of W = 0."""
    figure, (left, right) = figures.double(2, height=2.6)
    c, weights = plaid.arrays["contrasts"], plaid.arrays["weights"]
    drawn = np.concatenate([rings.weights for rings in sets])
    with figures.style():
        left.plot(c, drawn[:64].T, color=figures.TEAL, lw=0.6, alpha=0.35)
        left.plot(c, weights, "o-", color=figures.TEAL, lw=1.8)
        left.plot(c, feedforward, color=figures.GREY, ls=figures.DASH, lw=1.8)
    figures.mark_line(left, 1)
    figures.log_axis(left, "x", ticks=tuple(c.tolist()))
    figures.label_line(left, c[-1], feedforward[-1], "W = 0", figures.GREY, dx=0, dy=7, ha="right")
    figures.label_line(left, c[1], weights[1], "ring", figures.TEAL, dx=8)
    left.set(xlabel="contrast of each grating", ylabel="weight of the sum", ylim=(0, 2))
    figures.title(left, "Plaid summation", "a")
    _draw_plaid_profiles(right, plaid)
    share = float(np.mean(np.concatenate([rings.normalized for rings in sets])))
    refused = sum(rings.refused for rings in sets)
    ignited = int((drawn[:64].max(1) > 2).sum())
    caption = (
        f"The response to a plaid falls from {weights.max():.2f} to {weights[-1]:.2f} times the "
        f"sum of the responses to its gratings; {100 * share:.0f} % of {len(drawn)} rings with "
        "other weights pass from above to below 1 as well.\n"
        "a: least-squares weight over E cells; above 1 summation is supralinear. Thin: up to 64 "
        f"drawn rings, each weight varied on its own, of which {ignited} pass 2, out of the panel; "
        f"{refused} draws that did not settle were refused. Dashed: the same ring without "
        "recurrence. b: E rates at the lowest and the highest contrast, each over its largest, "
        "plaid solid and sum of the two gratings dashed."
    )
    run.figure("plaids", figure, caption)


def sizes(run: Run, found: Mapping[float, Result]) -> None:
    """Size tuning by contrast, and how suppression and the preferred size depend on contrast."""
    figure, (left, right) = figures.double(2, height=2.6)
    shown = [c for c in found if c >= STRENGTHS[0]]
    with figures.style():
        for color, c in zip(figures.RAMP, shown, strict=True):
            size, rate = found[c].arrays["sizes"], found[c].arrays["rates"][:, 0]
            left.plot(size, rate / rate.max(), color=color, lw=1.8)
            left.plot(size[rate.argmax()], 1, "o", color=color)
        contrasts = np.array(list(found))
        for name, color, dash in (("E", figures.RED, "-"), ("I", figures.BLUE, figures.DASH)):
            index = [one.scalars[f"suppression_{name}"] for one in found.values()]
            look = figures.hollow(color) if name == "I" else {"marker": "o"}
            right.plot(contrasts, 100 * np.array(index), color=color, ls=dash, **look)
            figures.label_line(right, contrasts[-1], 100 * index[-1], name, color)
    left.set(xlabel="diameter (degrees)", ylabel="E rate over its largest", ylim=(0, 1.08))
    _list_contrasts(left, shown, x=0.97, y=0.05)
    figures.log_axis(right, "x", ticks=tuple(found))
    right.set(xlabel="contrast", ylabel="suppression (%)", ylim=(0, 100))
    figures.title(left, "Size tuning", "a")
    figures.title(right, "Surround suppression", "b")
    low, high = found[shown[0]].scalars, found[shown[-1]].scalars
    caption = (
        f"From contrast {shown[0]:.0f} to {shown[-1]:.0f} the preferred diameter goes from "
        f"{low['preferred_E']:g}° to {high['preferred_E']:g}°, and the largest patch loses "
        f"{100 * low['suppression_E']:.0f} % and {100 * high['suppression_E']:.0f} % of the "
        "largest rate.\n"
        "The cell at the centre of a line of 81 E and 81 I cells over eight degrees of the visual "
        "field; E cells reach I cells twice as far as each other. a: dots mark the preferred "
        "diameter. b: the share of the largest rate that is lost at six degrees."
    )
    run.figure("sizes", figure, caption)


def paradox(run: Run, drives: np.ndarray, scan: Result) -> float:
    """Rates and slopes of the two-cell network; returns the drive at which the I slope flips."""
    figure, (left, right) = figures.double(2, height=2.6)
    slope, rates = scan.arrays["inhibitory_slope"], scan.arrays["rates"]
    gain = scan.arrays["excitatory_gain"]
    flips = np.flatnonzero((slope[:-1] > 0) & (slope[1:] <= 0))
    flip = float(drives[flips[0] + 1]) if len(flips) else float("nan")
    with figures.style():
        left.plot(drives, rates[:, 0], color=figures.RED)
        left.plot(drives, rates[:, 1], color=figures.BLUE, ls=figures.DASH)
        right.plot(gain, slope, color=figures.BLUE, ls=figures.DASH)
        right.plot(gain, scan.arrays["excitatory_slope"], color=figures.RED)
    for name, r, color in zip("EI", rates[-1], (figures.RED, figures.BLUE), strict=True):
        figures.label_line(left, drives[-1], r, name, color)
    figures.wash(left, flip, drives[-1], "E alone runs away")
    figures.mark_line(right, 0)
    figures.mark_line(right, 1, axis="x")
    last = slope[-1], scan.arrays["excitatory_slope"][-1]
    for name, value, color in zip("IE", last, (figures.BLUE, figures.RED), strict=True):
        figures.label_line(right, gain[-1], value, name, color)
    left.set(xlabel="drive to both cells", ylabel="rate (Hz)", ylim=(0, None))
    right.set(xlabel="gain of the E cell alone", ylabel="change (Hz per unit)")
    figures.title(left, "Steady rates", "a")
    figures.title(right, "Extra drive to I", "b")
    agree = int((np.sign(slope) == np.sign(1 - gain)).sum())
    caption = (
        f"From a drive of {flip:.1f} on, more input to the I cell lowers its rate: at {agree} of "
        f"{len(slope)} drives the sign is that of 1 - s W_EE.\n"
        "Two cells, E solid and I dashed. Where the gain of the E cell alone passes 1 it would run "
        "away without inhibition. b: by how much rates change for a little more input to I, by "
        "finite differences of steady states."
    )
    run.figure("paradox", figure, caption)
    return flip


def _draw_contrast(ax: Axes, response: Result) -> None:
    c, rates = response.arrays["contrasts"], response.arrays["rates"]
    crossing = response.scalars["crossing_E"]
    with figures.style():
        for name, r, color, dash in (
            ("E", rates[:, 0], figures.RED, "-"), ("I", rates[:, 1], figures.BLUE, figures.DASH),
        ):  # fmt: skip
            ax.plot(c, r, color=color, ls=dash, lw=1.8)
            figures.label_line(ax, c[-1], r[-1], name, color)
        below = c <= crossing
        ax.plot(c[below], 0.5 * rates[0, 0] * (c[below] / c[0]) ** 2, color=figures.MUTED, lw=0.8)
        at = np.exp(np.interp(np.log(crossing), np.log(c), np.log(rates[:, 0])))
        ax.plot(crossing, at, "o", color=figures.RED)
    figures.label_line(ax, crossing, at, f"{crossing:.0f}", figures.RED, dx=3, dy=-8)
    figures.wash(ax, c[0], crossing, "supralinear")
    figures.label_line(
        ax, c[below][-1], 0.5 * rates[0, 0] * (c[below][-1] / c[0]) ** 2, "slope 2", figures.INK,
        dx=3, dy=-2,
    )  # fmt: skip
    figures.log_axis(ax, "x", ticks=(1, 3, 10, 30))
    figures.log_axis(ax, "y", ticks=(0.1, 1, 10, 100))
    with figures.style():
        ax.annotate(
            "sublinear", (crossing, 1), (3, -3), ("data", "axes fraction"),
            textcoords="offset points", va="top",
        )  # fmt: skip
    ax.set(xlabel="contrast", ylabel="rate (Hz)", xlim=(c[0], c[-1]), ylim=(None, 400))
    figures.title(ax, "Contrast response", "a")


def _draw_tuning(ax: Axes, orientations: np.ndarray, curves: np.ndarray) -> None:
    count = len(orientations)
    with figures.style():
        for color, c, curve in zip(figures.RAMP, STRENGTHS, curves, strict=True):
            e = curve[:count]
            ax.plot(orientations, e, color=color, lw=1.8)
            figures.label_line(
                ax, orientations[e.argmax()], e.max(), f"{c:g}", figures.INK, dx=0, dy=6,
                ha="center",
            )  # fmt: skip
    ax.set(
        xlabel="preferred orientation (degrees)", ylabel="E rate (Hz)", xticks=(0, 45, 90, 135, 180)
    )
    ax.set_ylim(0, 1.12 * curves[:, :count].max())
    figures.title(ax, "Tuning by contrast", "b")


def _draw_map(ax: Axes, preferred: np.ndarray) -> None:
    side = round(len(preferred) ** 0.5)
    half = MAP.size / 2 + MAP.size / (side - 1) / 2
    x, y = MAP.coordinates
    angle = np.deg2rad(preferred)
    reach = 0.26
    offset = reach * np.stack([np.cos(angle), np.sin(angle)], -1)
    centre = np.stack([x.ravel(), y.ravel()], -1)
    with figures.style():
        ax.imshow(
            preferred.reshape(side, side), cmap=figures.orientation_map(), vmin=0, vmax=180,
            extent=(-half, half, -half, half),
        )  # fmt: skip
        bars = np.stack([centre - offset, centre + offset], 1)
        ax.add_collection(LineCollection(list(bars), colors="#FFFFFF", linewidths=1.2))
        ax.set(xticks=[], yticks=[], xlim=(-half, half), ylim=(-half - 1.1, half))
        ax.spines[:].set_visible(False)
        ax.plot([-half, -half + 2], [-half - 0.4] * 2, color=figures.INK, lw=2.4)
        ax.annotate("2 mm", (-half + 2.2, -half - 0.4), va="center")
    figures.title(ax, "Preferred orientation", "c")


def _draw_plaid_profiles(ax: Axes, plaid: Result) -> None:
    rates, c = plaid.arrays["rates"], plaid.arrays["contrasts"]
    e = rates.shape[-1] // 2
    angles = np.arange(e) * 180 / e
    with figures.style():
        for color, k in ((figures.RAMP[0], 0), (figures.RAMP[3], -1)):
            both, total = rates[k, 2, :e], rates[k, 0, :e] + rates[k, 1, :e]
            top = max(both.max(), total.max())
            ax.plot(angles, both / top, color=color, lw=1.8, label=f"contrast {c[k]:g}")
            ax.plot(angles, total / top, color=color, lw=1.2, ls=figures.DASH)
        ax.legend(loc="upper center", ncols=2, handlelength=1.6)
    ax.set(
        xlabel="preferred orientation (degrees)", ylabel="E rate (relative)", ylim=(0, 1.25),
        xticks=(0, 45, 90, 135, 180),
    )  # fmt: skip
    figures.title(ax, "Plaid against sum", "b")


def _list_contrasts(ax: Axes, contrasts: Sequence[float], *, x: float, y: float) -> None:
    with figures.style():
        for row, (color, c) in enumerate(
            zip(figures.RAMP[::-1], list(contrasts)[::-1], strict=True)
        ):
            ax.annotate(
                f"contrast {c:g}", (x, y), (-14, 10 * row), "axes fraction",
                textcoords="offset points", ha="right",
            )  # fmt: skip
            ax.annotate(
                "●", (x, y), (0, 10 * row), "axes fraction", textcoords="offset points",
                ha="right", color=color,
            )  # fmt: skip
