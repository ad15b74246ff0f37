"""The figures of the learning experiments, with captions computed from their numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from bioviz_core.lab.report import figures
from bioviz_core.lab.run import Run
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

import bioviz_butd as butd
from bioviz_butd.experiments.arms import Outcome, differing_weights, on_device

Outcomes = Mapping[str, Sequence[Outcome]]

COLOR = {
    "backprop": figures.GREY, "shared": figures.TEAL, "separate": figures.TEAL,
    "feedback": figures.VIOLET,
}  # fmt: skip
DASHED = ("shared", "feedback")
NAME = {
    "backprop": "backprop", "shared": "shared weights", "separate": "separate + decay",
    "feedback": "random feedback",
}  # fmt: skip


def learning(
    run: Run, name: str, label: str, outcomes: Outcomes, *, test_size: int, key: bool = False
) -> None:
    """Test error by step, the angle of the two streams, and that of updates to gradients."""
    figure, (left, middle, right) = figures.double(3, height=2.7)
    _draw_errors(left, outcomes, test_size)
    _draw_weight_angles(middle, outcomes)
    _draw_update_angles(right, outcomes)
    run.figure(name, figure, _learning_caption(label, outcomes), key=key)


def saliency(
    run: Run, name: str, label: str, nets: Mapping[str, Any], test: Mapping[str, np.ndarray], *,
    count: int,
) -> dict[str, float]:  # fmt: skip
    """What each arm's top-down signal points at; its similarity to that of shared weights."""
    chosen = _first_of_each(np.asarray(test["labels"]), count)
    maps, right = {}, {}
    for arm, net in nets.items():
        batch = on_device(net, {key: test[key] for key in ("inputs", "labels")})
        signals = butd.td_saliency(net, batch["inputs"], batch["labels"])
        data = {"inputs": np.asarray(test["inputs"]), "signals": signals.cpu().numpy()}
        maps[arm] = butd.Saliency()(data).arrays["maps"]
        right[arm] = (net(batch["inputs"]).argmax(1) == batch["labels"]).cpu().numpy()
    alike = {arm: _alike(maps["shared"], maps[arm]) for arm in maps if arm != "shared"}
    figure, axes = figures.image_grid(
        1 + len(maps), count, row_labels=["image", *(NAME[arm] for arm in maps)], row_height=0.8
    )
    for column, place in enumerate(chosen):
        figures.show_image(axes[0, column], np.asarray(test["inputs"][place]))
        for ax, arm in zip(axes[1:, column], maps, strict=True):
            wrong = None if right[arm][place] else False
            figures.show_image(ax, maps[arm][place], cmap="magma", right=wrong)
    run.figure(name, figure, _saliency_caption(label, alike, len(test["labels"])))
    return alike


def steps(outcomes: Sequence[Outcome]) -> list[int]:
    """The steps at which the outcomes of one arm were evaluated."""
    return [evaluation.step for evaluation in outcomes[0].evaluations]


def course(outcomes: Sequence[Outcome], quantity: str) -> np.ndarray:
    """A quantity of the evaluations, `(seeds, steps)` or `(seeds, steps, layers)`."""
    return np.array([[getattr(e, quantity) for e in o.evaluations] for o in outcomes], float)


def _draw_errors(ax: Axes, outcomes: Outcomes, test_size: int) -> None:
    least = 50 / test_size  # half an image, since a log axis has no zero
    for arm, found in outcomes.items():
        errors = np.maximum(100 - course(found, "accuracy"), least)
        figures.seed_lines(ax, steps(found), errors, color=COLOR[arm], dashed=arm in DASHED)
    figures.log_axis(ax, "y", ticks=(0.3, 1, 3, 10, 30, 100))
    ax.set(xlabel="step", ylabel="test error (%)", ylim=(None, 300))
    lines = [
        Line2D([], [], color=COLOR[arm], lw=1.8, ls=figures.DASH if arm in DASHED else "-",
               label=NAME[arm])
        for arm in outcomes
    ]  # fmt: skip
    with figures.style():
        ax.legend(handles=lines, loc="upper right", handlelength=2.2, labelspacing=0.25)
    figures.title(ax, "Test error", "a")


def _draw_weight_angles(ax: Axes, outcomes: Outcomes) -> None:
    if "feedback" in outcomes:
        mean = course(outcomes["feedback"], "weight_angles").mean(-1)
        figures.seed_lines(
            ax, steps(outcomes["feedback"]), mean, color=COLOR["feedback"], dashed=True
        )
    angles = course(outcomes["separate"], "weight_angles").mean(0)
    x, layers = steps(outcomes["separate"]), angles.shape[1]
    with figures.style():
        for layer in range(layers):
            shade = figures.RAMP[round(3 * layer / max(1, layers - 1))]
            ax.plot(x, angles[:, layer], color=shade, lw=1.8)
    for layer, place in enumerate(_apart(angles[-1], 7)):
        figures.label_line(
            ax, x[-1], place, f"{layer + 1}", figures.INK, ha="left"
        )  # fmt: skip
    figures.mark_line(ax, 90, "orthogonal")
    ax.set(xlabel="step", ylabel="angle of W to B (degrees)", ylim=(0, 100))
    figures.title(ax, "Angle of the streams", "b")


def _draw_update_angles(ax: Axes, outcomes: Outcomes) -> None:
    layers = 0
    with figures.style():
        for arm, shift in (("separate", -0.1), ("feedback", 0.1)):
            if arm not in outcomes:
                continue
            angles = course(outcomes[arm], "update_angles")[:, -1]
            layers = angles.shape[1]
            x = np.arange(1, layers + 1) + shift
            for row in angles if len(angles) > 1 else ():
                ax.plot(x, row, "_", color=COLOR[arm], ms=6, alpha=0.6)
            look = figures.hollow(COLOR[arm]) if arm in DASHED else {"marker": "o"}
            ax.plot(
                x, angles.mean(0), ls="none", color=COLOR[arm], label=NAME[arm], clip_on=False,
                **look,
            )  # fmt: skip
        ax.legend(loc="upper right", handletextpad=0.2, labelspacing=0.25)
    ax.set(
        xlabel="layer, 1 nearest the image", ylabel="update to gradient (degrees)",
        ylim=(0, 100), xticks=range(1, layers + 1), xlim=(0.5, layers + 0.5),
    )  # fmt: skip
    figures.title(ax, "Update to gradient", "c")


def _learning_caption(label: str, outcomes: Outcomes) -> str:
    final = {arm: course(found, "accuracy")[:, -1] for arm, found in outcomes.items()}
    gap = float(np.mean(final["separate"] - final["backprop"]))
    angles = course(outcomes["separate"], "weight_angles").mean((0, 2))
    text = (
        f"{label}: with separate weights and decay, accuracy ends {_gap(gap)} backprop's, and the "
        f"two streams turn from {angles[0]:.0f}° to {angles[-1]:.0f}° apart.\n"
    )
    if "shared" in outcomes:
        pairs = zip(outcomes["backprop"], outcomes["shared"], strict=True)
        differing = sum(differing_weights(a.net, b.net) for a, b in pairs)
        text += (
            f"With shared weights {differing} weights end in other bits than backprop's. "
            if differing
            else "With shared weights every weight ends in the bits of backprop's. "
        )
    if len(outcomes["separate"]) > 1:
        text += "Thin lines and ticks are seeds, the others their mean. "
    text += "b: upward weights W against downward weights B, a line per layer, 1 nearest the image"
    if "feedback" in outcomes:
        text += "; dashed, the mean of fixed random feedback"
    text += (
        ". c: what a layer learns against its gradient, at the end; the top layer hears the error "
        "itself, so its angle is 0."
    )
    return text


def _gap(points: float) -> str:
    if abs(points) < 0.005:
        return "at"
    return f"{abs(points):.2g} points {'above' if points > 0 else 'below'}"


def _saliency_caption(label: str, alike: Mapping[str, float], count: int) -> str:
    found = [f"{alike[arm] + 0:.2f} with {NAME[arm]}" for arm in ("separate", "feedback")]
    return (
        f"{label}: pixel by pixel, the downward signal correlates with that of shared weights at "
        f"{' and '.join(found)}.\n"
        "The signal starts as 1 at the unit of the true digit and descends to the pixels; bright "
        f"is strong, each map on its own scale. Correlations are means over {count} test digits. "
        "A red frame and a cross: the network misreads this digit."
    )


def _alike(first: np.ndarray, second: np.ndarray) -> float:
    """Mean over samples of the correlation of two maps; those without variation are left out."""
    a, b = (maps.reshape(len(maps), -1) for maps in (first, second))
    a, b = (maps - maps.mean(1, keepdims=True) for maps in (a, b))
    lengths = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
    seen = lengths > 0
    return float(((a * b).sum(1)[seen] / lengths[seen]).mean()) if seen.any() else float("nan")


def _first_of_each(labels: np.ndarray, count: int) -> list[int]:
    """The first sample of each of `count` classes."""
    return [int(np.flatnonzero(labels == digit)[0]) for digit in np.unique(labels)[:count]]


def _apart(values: np.ndarray, least: float) -> np.ndarray:
    """Places as near to `values` as keeps labels `least` apart: crowded ones move both ways."""
    order = np.argsort(values)
    places = np.array(values, float)
    for _ in range(100):
        for below, above in pairwise(order):
            short = least - (places[above] - places[below])
            if short > 1e-3:
                places[below] -= short / 2
                places[above] += short / 2
    return places
