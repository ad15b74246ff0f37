"""The figures of the sampler's certificates, with captions computed from their numbers."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from bioviz_core.lab.report import figures
from bioviz_core.lab.run import Run
from matplotlib.axes import Axes
from matplotlib.patches import Ellipse
from scipy.stats import norm

from bioviz_nrf.experiments.certificates import (
    BOX,
    SCHEMES,
    Bias,
    Boxed,
    Coldness,
    Law,
    harmonic_variance,
)

COLOR = {
    "baoab": figures.TEAL, "obabo": figures.VIOLET, "sghmc": figures.BLUE, "sgld": figures.AMBER,
}  # fmt: skip
DASHED = ("obabo", "sgld")


def laws(run: Run, rows: Sequence[Law], bias: Bias, box: Boxed) -> None:
    """Variances in a well, the bias on the quartic law, and the marginal in a box."""
    figure, (left, middle, right) = figures.double(3, height=2.7)
    _draw_variances(left, [row for row in rows if row.law == "well"])
    _draw_bias(middle, bias)
    _draw_box(right, box)
    worst = max(abs(row.measured - row.expected) for row in rows)
    caption = (
        f"Each kernel settles in the law of its equations to {worst:.0e}, and mirrored chains keep "
        f"a truncated law where clamping puts {100 * box.clamped.on_walls:.0f} % of them on a "
        "wall.\n"
        "a: variance in a harmonic well of unit curvature, 1 being right; lines are closed forms, "
        "dots come from the kernel's own steps. b: error of the second moment on a quartic "
        f"energy; obabo's grows as the step size to the power {bias.order:.2f}; baoab's at "
        "half a radian per step is the dot. c: one coordinate of a correlated Gaussian cut to a "
        "square."
    )
    run.figure("laws", figure, caption, key=True)


def coldness(run: Run, cold: Coldness) -> None:
    """Samples of the published sampler and of baoab on the law that both are given."""
    figure, (left, right) = figures.double(2, height=2.7)
    _draw_samples(left, cold)
    _draw_ratios(right, cold)
    caption = (
        f"The published sampler's variance is {100 * cold.ratios['published']:.1f} % of the law's, "
        f"{100 * cold.ratios['published, unit mass']:.1f} % without its adapted masses; baoab's is "
        f"{100 * cold.ratios['baoab']:.0f} %.\n"
        "a: last positions of 400 chains; ellipses hold 39 % and 86 % of the law. b: variance over "
        "that of the law, on a log scale."
    )
    run.figure("coldness", figure, caption)


def _draw_variances(ax: Axes, rows: Sequence[Law]) -> None:
    h = np.linspace(0.01, 0.85, 100)
    with figures.style():
        for scheme in SCHEMES:
            own = [row for row in rows if row.scheme == scheme]
            dashes = figures.DASH if scheme in DASHED else "-"
            expected = [harmonic_variance(scheme, step) for step in h]
            ax.plot(h, expected, color=COLOR[scheme], lw=1.6, ls=dashes)
            look = figures.hollow(COLOR[scheme]) if scheme in DASHED else {"marker": "o"}
            steps, found = [row.step_size for row in own], [row.measured for row in own]
            ax.plot(steps, found, ls="none", color=COLOR[scheme], **look)
            figures.label_line(ax, h[-1], expected[-1], scheme, COLOR[scheme])
    ax.set(xlabel="step size", ylabel="variance", ylim=(0.9, 1.8), xlim=(0, 0.87))
    figures.title(ax, "Variance in a well", "a")


def _draw_bias(ax: Axes, bias: Bias) -> None:
    steps, errors = np.array([*bias.obabo]), np.array([*bias.obabo.values()])
    with figures.style():
        guide = errors[-1] * (steps / steps[-1]) ** 2 / 2
        ax.plot(steps, guide, color=figures.MUTED, lw=0.8, ls=figures.DASH)
        look: Any = figures.hollow(COLOR["obabo"])
        ax.plot(steps, errors, color=COLOR["obabo"], lw=1.6, **look)
        ax.plot([bias.baoab_step], [abs(bias.baoab)], "o", color=COLOR["baoab"])
    figures.log_axis(ax, "x", ticks=(0.05, 0.1, 0.2, 0.4))
    figures.log_axis(ax, "y", ticks=(0.001, 0.01))
    ax.set(xlabel="step size", ylabel="relative error", ylim=(3e-4, 0.03), xlim=(0.04, 0.45))
    figures.label_line(ax, steps[1], errors[1], "obabo", COLOR["obabo"], ha="right", dx=-2, dy=6)
    figures.label_line(ax, steps[1], guide[1], "slope 2", figures.MUTED, dx=4, dy=-5)
    figures.label_line(
        ax, bias.baoab_step, abs(bias.baoab), "baoab", COLOR["baoab"], ha="center", dx=0, dy=-9
    )
    figures.title(ax, "Error on a quartic", "b")


def _draw_box(ax: Axes, box: Boxed) -> None:
    edges = np.linspace(*BOX, 31)
    x = np.linspace(*BOX, 200)
    with figures.style():
        for settled, color, dashes, name in (
            (box.clamped, figures.VIOLET, figures.DASH, "clamped"),
            (box.mirrored, figures.TEAL, "-", "mirrored"),
        ):
            density, _ = np.histogram(settled.positions[:, 0], edges, density=True)
            ax.stairs(density, edges, color=color, lw=1.4, ls=dashes, label=name)
        ax.plot(x, _marginal(x), color=figures.INK, lw=0.8, label="law")
        ax.legend(loc="upper center", handlelength=1.8, labelspacing=0.25)
    ax.set(xlabel="position", ylabel="density", xlim=(BOX[0] - 0.05, BOX[1] + 0.05), ylim=(0, None))
    figures.title(ax, "Between two walls", "c")


def _marginal(x: np.ndarray) -> np.ndarray:
    """Density of one coordinate of the Gaussian with correlation .7, cut to the box."""
    spread = np.sqrt(1 - 0.7**2)
    inside = norm.cdf((BOX[1] - 0.7 * x) / spread) - norm.cdf((BOX[0] - 0.7 * x) / spread)
    density = norm.pdf(x) * inside
    return np.asarray(density / np.trapezoid(density, x))


def _draw_samples(ax: Axes, cold: Coldness) -> None:
    values, axes = np.linalg.eigh(cold.covariance)
    angle = np.degrees(np.arctan2(axes[1, 1], axes[0, 1]))
    with figures.style():
        for name, color in (("baoab", figures.TEAL), ("published", figures.VIOLET)):
            ax.plot(*cold.positions[name][:400].T, ".", color=color, ms=2.5, alpha=0.7)
        for size in (1, 2):
            long, short = 2 * size * np.sqrt(values[::-1])
            ax.add_patch(
                Ellipse((0, 0), long, short, angle=angle, fill=False, ec=figures.INK, lw=0.8)
            )
    ax.set(xlabel="first coordinate", ylabel="second coordinate", xlim=(-3.6, 3.6), ylim=(-3, 3))
    ax.set_aspect("equal")
    figures.label_line(ax, -2.2, 2.2, "baoab", figures.TEAL, ha="center")
    figures.label_line(ax, 1.3, -2.2, "published", figures.VIOLET, ha="center")
    with figures.style():
        ax.plot([0.8, 0.15], [-1.85, -0.3], color=figures.VIOLET, lw=0.8)
    figures.title(ax, "Samples of one law", "a")


def _draw_ratios(ax: Axes, cold: Coldness) -> None:
    names = ["baoab", "published, unit mass", "published"]
    figures.mark_line(ax, 1.0, axis="x")
    with figures.style():
        for row, name in enumerate(names):
            ratio = cold.ratios[name]
            color = figures.TEAL if name == "baoab" else figures.VIOLET
            look = {"marker": "o"} if name != "published, unit mass" else figures.hollow(color)
            ax.plot([ratio], [row], ls="none", color=color, **look)
            ax.annotate(
                f"{ratio:.2g}",
                (ratio, row),
                (-7, 0),
                textcoords="offset points",
                ha="right",
                va="center",
            )
    figures.log_axis(ax, "x", ticks=(0.01, 0.1, 1))
    ax.set(
        xlabel="variance over the law's", xlim=(0.002, 2), ylim=(2.6, -0.6),
        yticks=range(3), yticklabels=[name.replace(", ", ",\n") for name in names],
    )  # fmt: skip
    figures.title(ax, "How cold a sampler is", "b")
