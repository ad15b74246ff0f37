"""The figures of the contexts experiment, with captions computed from their numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from bioviz_core.lab.report import figures
from bioviz_core.lab.run import Run
from matplotlib.axes import Axes

from bioviz_fastweights.experiments.interference import FACTORS, Crossed, Memories

COLOR = (figures.AMBER, figures.VIOLET, figures.BLUE)


def contexts(run: Run, found: Crossed) -> None:
    """Falls of the error by context and set, by decay, and under mixtures of two contexts."""
    figure, (left, middle, right) = figures.double(3, height=2.7, widths=(1.15, 1, 1))
    bound = max(1.0, float(np.abs(found.falls).max()))
    figures.heatmap(
        left, found.falls, rows=found.names, columns=found.names, signed=True, high=bound,
        form="+.0f",
    )  # fmt: skip
    left.set(xlabel="images", ylabel="fast weights")
    left.tick_params(axis="y", labelrotation=90)
    for label in left.get_yticklabels():
        label.set_va("center")
    figures.title(left, "Fall of the error (%)", "a")
    _draw_decay(middle, found)
    _draw_mixtures(right, found)
    caption = (
        f"A context lowers the error of its own images by {found.own:.0f} % and that of another "
        f"context's by {found.other:.0f} %.\n"
        "a: against the slow weights alone; a row is the context in use, a column the images. b: "
        "each context on its own images as it decays; at 0 the slow network is back. c: the first "
        "two contexts in one mixture, from all of the second to all of the first."
    )
    run.figure("contexts", figure, caption, key=True)


def reconstructions(run: Run, memories: Memories, *, count: int = 2) -> None:
    """Images of the first two sets as the slow network and both contexts copy them."""
    first, second = list(memories.sets)[:2]
    count = min(count, len(memories.sets[first]))
    rows = ("original", "slow weights", "own context", "other context")
    figure, axes = figures.image_grid(len(rows), 2 * count, row_labels=rows, row_height=0.95)
    for place, (name, other) in enumerate(((first, second), (second, first))):
        shown = [
            memories.sets[name], memories.copies(None, name), memories.copies(name, name),
            memories.copies(other, name),
        ]  # fmt: skip
        for row, images in enumerate(shown):
            for number in range(count):
                ax = axes[row, place * count + number]
                figures.show_image(ax, images[number].cpu().numpy())
    slow, own = (
        np.mean([memories.error(c, n) for c, n in pairs])
        for pairs in (((None, first), (None, second)), ((first, first), (second, second)))
    )
    caption = (
        f"Its own context takes the error of an image from {slow:.3f} to {own:.3f}.\n"
        f"Patches written to the contexts {first} (left) and {second} (right), and how the network "
        "copies them."
    )
    run.figure("reconstructions", figure, caption)


def _draw_decay(ax: Axes, found: Crossed) -> None:
    with figures.style():
        for name, errors, color in zip(found.names, found.decay, COLOR, strict=False):
            look: Any = figures.hollow(color)
            ax.plot(FACTORS, errors, color=color, lw=1.6, label=name)
            ax.plot([0], errors[-1:], color=color, ls="none", **look)
        ax.legend(loc="best", handlelength=1.6, labelspacing=0.25)
    ax.set(xlabel="share left", ylabel="error", xlim=(1.02, -0.02), ylim=(0, None))
    figures.title(ax, "Decay", "b")


def _draw_mixtures(ax: Axes, found: Crossed) -> None:
    first, second = found.names[:2]
    with figures.style():
        for name, errors, color in zip((first, second), found.mixtures, COLOR, strict=False):
            ax.plot(FACTORS, errors, color=color, lw=1.6, label=f"{name}'s images")
        ax.legend(loc="best", handlelength=1.6, labelspacing=0.25)
    ax.set(xlabel=f"share of {first}", ylabel="error", xlim=(-0.02, 1.02), ylim=(0, None))
    figures.title(ax, "Two contexts mixed", "c")
