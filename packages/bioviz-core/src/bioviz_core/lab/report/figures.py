"""Figures in one house style: sizes, lines, labels, maps, and files that any theme can show.

Draw inside `style()`, as a context or a decorator, or through the functions here, which enter it:

    figure, ax = figures.single()
    figures.seed_lines(ax, steps, losses, color=figures.TEAL, label="counter-Hebb")
    ax.set(xlabel="step", ylabel="loss (nats)")
    figures.title(ax, "Training loss")

Only the tokens below follow a dark theme. Fill hollow markers and halos with `PAPER`, the colour of
the card behind: plain white and black never switch, so that images keep theirs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import matplotlib as mpl
import numpy as np
from cycler import cycler
from matplotlib import ticker
from matplotlib.axes import Axes
from matplotlib.collections import QuadMesh
from matplotlib.colors import ListedColormap
from matplotlib.figure import Figure

from bioviz_core.lab.report.formats import tick
from bioviz_core.lab.report.svg import inline_svg as inline_svg
from bioviz_core.lab.report.tokens import TOKENS as TOKENS

_LIGHT = TOKENS["light"]
_SIX = ("red", "blue", "teal", "grey", "amber", "violet")
RED, BLUE, TEAL, GREY, AMBER, VIOLET = (_LIGHT[name] for name in _SIX)
INK, MUTED, RULE, WASH, PAPER = (_LIGHT[n] for n in ("ink", "muted", "rule", "wash", "paper"))
RAMP = tuple(_LIGHT[f"ramp-{i}"] for i in range(4))
SMALL = 7.5  # points: ticks, direct labels, cell numbers; nothing is smaller
DASH = (0, (4, 2))

HOUSE: dict[Any, Any] = {
    **mpl.rc_params_from_file(
        Path(__file__).with_name("house.mplstyle"), use_default_template=False
    ),
    **dict.fromkeys(("text.color", "axes.labelcolor", "axes.titlecolor"), INK),
    **dict.fromkeys(("xtick.labelcolor", "ytick.labelcolor"), INK),
    **dict.fromkeys(("axes.edgecolor", "xtick.color", "ytick.color"), MUTED),
    "axes.prop_cycle": cycler(color=[INK, BLUE, AMBER, VIOLET, TEAL, RED, GREY]),
}


@contextmanager
def style() -> Iterator[None]:
    """Matplotlib in house style; as `@style()` it covers a drawing function."""
    with mpl.rc_context(HOUSE):
        yield


@style()
def single(*, height: float = 2.3) -> tuple[Figure, Axes]:
    """One panel, 3.5 inches wide: two fit beside each other in a report."""
    figure = Figure(figsize=(3.5, height), layout="constrained")
    return figure, figure.subplots()


@style()
def double(
    columns: int = 2, *, height: float = 2.6, widths: Sequence[float] | None = None
) -> tuple[Figure, np.ndarray]:
    """A row of up to three panels, 7.2 inches wide; panel a carries the message."""
    if not 1 <= columns <= 3:
        raise ValueError(f"a row has one to three panels, got {columns}: use quad() for four")
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.subplots(1, columns, squeeze=False, width_ratios=widths)
    return figure, axes[0]


@style()
def quad(*, height: float = 3.7) -> tuple[Figure, np.ndarray]:
    """Four panels, `(2, 2)` axes."""
    figure = Figure(figsize=(7.2, height), layout="constrained")
    return figure, figure.subplots(2, 2)


@style()
def image_grid(
    rows: int, columns: int, *, row_labels: Sequence[str] = (), column_labels: Sequence[str] = (),
    row_height: float = 0.85,
) -> tuple[Figure, np.ndarray]:  # fmt: skip
    """Empty frames for images, `(rows, columns)` axes, 7.2 inches wide."""
    height = rows * row_height + 0.25 * bool(column_labels)
    figure = Figure(figsize=(7.2, height), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False)
    for ax in axes.flat:
        _frame(ax)
    for ax, text in zip(axes[0], column_labels, strict=False):
        ax.set_title(text, loc="center", fontsize=8, fontweight="normal")
    for ax, text in zip(axes[:, 0], row_labels, strict=False):
        ax.set_ylabel(text, rotation=0, ha="right", va="center")
    return figure, axes


def title(ax: Axes, text: str, letter: str | None = None) -> None:
    """Name the quantity above a panel, at most 24 characters, after a bold letter."""
    if len(text) > 24:
        raise ValueError(f"a title has at most 24 characters, got {len(text)}: {text!r}")
    with style():
        ax.set_title(f"{letter}\N{EN SPACE}{text}" if letter else text, loc="left")


def label_line(ax: Axes, x: float, y: float, text: str, color: str, **place: float | str) -> None:
    """Name a series beside `(x, y)` in its own colour; `dx`, `dy` in points, `ha`, `va`."""
    shift = float(place.pop("dx", 4)), float(place.pop("dy", 0))
    where: dict[str, Any] = {"ha": "left", "va": "center", **place}
    with style():
        ax.annotate(
            text, (x, y), shift, textcoords="offset points", color=color, weight="bold",
            annotation_clip=False, **where,
        )  # fmt: skip


def seed_lines(
    ax: Axes, x: Sequence[float] | np.ndarray, values: Sequence[Sequence[float]] | np.ndarray, *,
    color: str = INK, label: str = "", dashed: bool = False, marker: str = "",
) -> None:  # fmt: skip
    """The mean of `values (seeds, x)` over thin lines, or over a 95 % band from 11 seeds on.

    NaN is a missing value: the mean is over the others. The caption has to say which is drawn.
    """
    rows = np.ma.masked_invalid(np.atleast_2d(np.asarray(values, float)))
    mean = rows.mean(0).filled(np.nan)
    dashes = DASH if dashed else "-"
    with style():
        if len(rows) > 10:
            from scipy.stats import t

            count = rows.count(0)
            error = rows.std(0, ddof=1).filled(np.nan) / np.sqrt(np.maximum(count, 1))
            half = t.ppf(0.975, np.maximum(count - 1, 1)) * error
            ax.fill_between(x, mean - half, mean + half, color=color, alpha=0.18, lw=0)
        elif len(rows) > 1:
            for row in rows:
                ax.plot(x, row.filled(np.nan), color=color, lw=0.6, alpha=0.45, ls=dashes)
        ax.plot(
            x, mean, color=color, lw=1.8 if len(rows) > 1 else 1.6, ls=dashes, marker=marker,
            mfc=PAPER if dashed else color,
        )  # fmt: skip
    seen = np.flatnonzero(np.isfinite(mean))
    if label and len(seen):
        label_line(ax, float(np.asarray(x)[seen[-1]]), float(mean[seen[-1]]), label, color)


def mark_line(
    ax: Axes, value: float, text: str = "", *, axis: Literal["x", "y"] = "y", color: str = MUTED
) -> None:
    """A dashed reference at a value of an axis, named at its end."""
    draw = ax.axhline if axis == "y" else ax.axvline
    with style():
        draw(value, color=color, lw=0.8, ls=DASH, zorder=0)
        if text:
            across = axis == "y"
            ax.annotate(
                text, (1, value) if across else (value, 1), (0, 2) if across else (3, 0),
                xycoords=("axes fraction", "data") if across else ("data", "axes fraction"),
                textcoords="offset points", color=color,
                ha="right" if across else "left", va="bottom" if across else "top",
            )  # fmt: skip


def wash(ax: Axes, start: float, stop: float, text: str = "") -> None:
    """Shade a span of x, named in ink."""
    with style():
        ax.axvspan(start, stop, color=WASH, lw=0, zorder=-1)
        if text:
            place = ("data", "axes fraction")
            ax.annotate(text, (start, 1), (3, -3), place, textcoords="offset points", va="top")


def log_axis(ax: Axes, axis: Literal["x", "y"] = "x", ticks: Sequence[float] = ()) -> None:
    """A logarithmic axis with plain numbers and no minor ticks; `ticks` sets the numbers."""
    (ax.set_xscale if axis == "x" else ax.set_yscale)("log")
    which = ax.xaxis if axis == "x" else ax.yaxis
    if ticks:
        which.set_major_locator(ticker.FixedLocator(ticks))
    which.set_major_formatter(ticker.FuncFormatter(lambda value, _: tick(value)))
    which.set_minor_locator(ticker.NullLocator())


def hollow(color: str) -> dict[str, object]:
    """Marker options for the second of a pair: hollow in the card's colour."""
    return {"marker": "o", "mfc": PAPER, "mec": color, "mew": 1.2}


def heatmap(
    ax: Axes, matrix: Sequence[Sequence[float]] | np.ndarray, *, rows: Sequence[object] = (),
    columns: Sequence[object] = (), signed: bool = False, low: float | None = None,
    high: float | None = None, cmap: str | None = None, form: str = ".0f", unit: str = "",
) -> None:  # fmt: skip
    """A matrix as colours: numbers in the cells up to 8 x 8, else a colour bar with its unit.

    `signed` is for weights and differences: symmetric about 0. Give `low`, `high` for shares, 0 to
    1 or 0 to 100, so that panels compare. NaN cells stay empty.
    """
    values = np.ma.masked_invalid(np.asarray(matrix, float))
    if signed:
        high = float(np.abs(values).max()) if high is None else high
        low = -high
    with style():
        image = ax.imshow(
            values, aspect="auto", vmin=low, vmax=high, cmap=cmap or ("RdBu_r" if signed else None)
        )
        for which, names in ((ax.xaxis, columns), (ax.yaxis, rows)):
            which.set_major_locator(ticker.MaxNLocator(integer=True))
            if len(names):
                which.set_ticks(range(len(names)), [str(name) for name in names])
            which.set_tick_params(length=0)
        ax.spines[:].set_visible(False)
        if max(values.shape) > 8:
            assert ax.figure is not None
            bar = ax.figure.colorbar(image, ax=ax, label=unit, pad=0.02, aspect=16)
            bar.outline.set_visible(False)
            return
        for (i, j), value in np.ndenumerate(values.filled(np.nan)):
            if np.isfinite(value):
                ink = "#000000" if _luminance(image.cmap(image.norm(value))) > 0.18 else "#FFFFFF"
                ax.text(j, i, format(value, form), color=ink, ha="center", va="center")


def show_image(
    ax: Axes, image: np.ndarray, *, cmap: str = "gray", low: float = 0.0, high: float = 1.0,
    right: bool | None = None,
) -> None:  # fmt: skip
    """An image `(H, W)`, `(C, H, W)` or `(H, W, 3)` in a thin frame, without axes.

    `right` puts a tick or a cross beside it, and a red frame where it is False.
    """
    pixels = np.asarray(image)
    if pixels.ndim == 3 and pixels.shape[0] in (1, 3) and pixels.shape[-1] not in (3, 4):
        pixels = np.moveaxis(pixels, 0, -1)
    pixels = pixels[..., 0] if pixels.ndim == 3 and pixels.shape[-1] == 1 else pixels
    if pixels.ndim == 3:
        pixels = np.clip((pixels - low) / (high - low), 0, 1)
    with style():
        ax.imshow(pixels, cmap=cmap, vmin=low, vmax=high)
        _frame(ax, RED if right is False else RULE, 1.8 if right is False else 0.6)
        if right is not None:
            ax.annotate(
                "✓" if right else "✗", (1, 0.5), (4, 0), xycoords="axes fraction",
                textcoords="offset points", va="center", color=TEAL if right else RED, size=9,
            )  # fmt: skip


def scale_bar(ax: Axes, length: float, text: str) -> None:
    """A white bar of `length` in data units at the lower left of an image, named above."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    x, y = x0 + 0.06 * (x1 - x0), y0 + 0.07 * (y1 - y0)
    with style():
        ax.plot([x, x + length], [y, y], color="#FFFFFF", lw=2.4, solid_capstyle="butt")
        ax.annotate(
            text, (x + length / 2, y), (0, 3), textcoords="offset points", color="#FFFFFF",
            ha="center", va="bottom", weight="bold",
        )  # fmt: skip


def orientation_map(steps: int = 180) -> ListedColormap:
    """Cyclic colours for orientation, 0 to 180 degrees; draw short oriented bars on it too.

    CIELAB with `t` twice the orientation: L = 63 + 9 cos(t - 40°), chroma 42, hue t + 20°.
    """
    from skimage.color import lab2rgb

    t = np.linspace(0, 2 * np.pi, steps, endpoint=False)
    light, hue = 63 + 9 * np.cos(t - np.radians(40)), t + np.radians(20)
    lab = np.stack([light, 42 * np.cos(hue), 42 * np.sin(hue)], -1)
    return ListedColormap(lab2rgb(lab), name="orientation")


def save(figure: Figure, folder: Path, name: str) -> tuple[Path, Path]:
    """Write `name.svg`, transparent with text as text, and `name.png`, 200 dpi on white.

    The same drawing gives the same bytes: fixed hash salt, no date, no program version. Meshes
    are rasterised; they are drawn in a colour map, which no theme changes.
    """
    for mesh in figure.findobj(QuadMesh):
        mesh.set_rasterized(True)
    svg, png = folder / f"{name}.svg", folder / f"{name}.png"
    with style():
        figure.savefig(svg, dpi=200, facecolor="none", metadata={"Date": None, "Creator": None})
        figure.set_layout_engine("none")  # where everything goes was found once; it takes as long
        figure.savefig(png, dpi=200, facecolor="white", metadata={"Software": None})
    return svg, png


def _frame(ax: Axes, color: str = RULE, width: float = 0.6) -> None:
    ax.set(xticks=[], yticks=[])
    ax.spines[:].set(visible=True, color=color, linewidth=width)


def _luminance(rgba: Any) -> float:
    """Relative luminance of an sRGB colour."""
    rgb = np.asarray(rgba, float)[:3]
    linear = np.where(rgb > 0.04045, ((rgb + 0.055) / 1.055) ** 2.4, rgb / 12.92)
    return float(linear @ [0.2126, 0.7152, 0.0722])
