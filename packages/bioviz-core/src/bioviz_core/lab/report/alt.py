"""Words for who cannot see a figure, from the figure itself."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure


def alt_text(figure: Figure, caption: str) -> str:
    """Panels with their axes and series, then the finding: the caption's first line."""
    said = "; ".join(dict.fromkeys(filter(None, map(_panel, figure.axes))))
    finding = caption.strip().splitlines()[0]
    return f"{said}. {finding}" if said else finding


def _panel(axes: Axes) -> str:
    kind = "image" if axes.images else "bars" if axes.patches else "plot"
    about = []
    if title := axes.get_title("left") or axes.get_title():
        about.append(f"'{title}'")
    if axes.get_xlabel() and axes.get_ylabel():
        about.append(f"of {axes.get_ylabel()} against {axes.get_xlabel()}")
    labels = dict.fromkeys(str(line.get_label()) for line in axes.lines)
    if named := [label for label in labels if not label.startswith("_")]:
        about.append(f"for {', '.join(named)}")
    return " ".join([kind, *about]) if about else ""
