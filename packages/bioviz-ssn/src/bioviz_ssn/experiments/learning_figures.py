"""The figures of perceptual learning, with captions computed from the run's own numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from bioviz_core.lab.claims import interval
from bioviz_core.lab.report import figures
from bioviz_core.lab.run import Run
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from bioviz_ssn.connectivity import TRAINED
from bioviz_ssn.examination import OFFSETS
from bioviz_ssn.experiments.arms import Outcome
from bioviz_ssn.experiments.learning_results import LATE
from bioviz_ssn.linearization import SLOWEST
from bioviz_ssn.models.cohort import SEEN
from bioviz_ssn.stages import UNREACHED

PUBLISHED = {
    "J_EE": (-6.0, -10.0), "J_IE": (None, -3.0), "J_EI": (None, 0.0), "J_II": (13.0, 17.0),
    "c_E": (-3.0, -33.0), "c_I": (12.0, 30.0), "f_E": (None, 9.0), "f_I": (None, 9.0),
}  # fmt: skip
"""Medians of the published figure in percent, middle and superficial, read off by eye.

It predates shared baselines; f belongs to the path into the superficial layer."""
SAME = 2.0
"""Percent: a published change of 0 agrees with ours within this."""
COLOR = {"E": figures.RED, "I": figures.BLUE}
LAYER = {"middle": True, "superficial": False}


def everything(
    run: Run,
    outcome: Outcome,
    penalties: Mapping[str, np.ndarray],
    decoded: Mapping[str, np.ndarray],
    tuned: Mapping[str, Mapping[str, np.ndarray]],
) -> None:
    """All figures of one run, the parameter changes first."""
    if outcome.stages["fine"].steps == 0:
        run.note("No seed came to fine training, of which there is nothing to show.")
        accuracy(run, outcome)
        return
    parameter_change(run, outcome)
    learning(run, outcome)
    accuracy(run, outcome)
    if len(next(iter(tuned["middle"].values()), ())):
        tuning_change(run, tuned)
    decoding(run, decoded)
    slow_modes(run, penalties)


def parameter_change(run: Run, outcome: Outcome) -> None:
    """Percent change by parameter and layer, beside the published signs."""
    change = outcome.change()
    figure, ax = figures.single(height=3.4)
    rows: list[dict[str, Any]] = []
    with figures.style():
        for row, name in enumerate(PUBLISHED):
            shared = name[0] in "cf"
            color = COLOR[name[-1]]
            for k, layer in enumerate(("m", "s")):
                if shared and (name[0] == "c") != (layer == "m"):
                    continue
                values = change[name if name[0] == "f" else f"{name}_{layer}"]
                known = values[np.isfinite(values)]
                y = -row + (0 if shared else 0.2 - 0.4 * k)
                _stem(ax, y, known, color, hollow=layer == "m")
                published = PUBLISHED[name][1 if name[0] == "f" else k]
                if published is None:
                    continue
                ax.plot(
                    published, y, marker="D", ms=3.2, mfc=figures.PAPER, mec=figures.MUTED, mew=0.9
                )
                label = name if shared else f"{name} {'MS'[k]}"
                found = interval(known) if len(known) > 1 else None
                rows.append(
                    {
                        "parameter": label, "change": float(known.mean()) if len(known) else np.nan,
                        "low": found.low if found else np.nan,
                        "high": found.high if found else np.nan,
                        "published": published, "verdict": _agreement(known, published),
                    }
                )  # fmt: skip
        ax.axvline(0, color=figures.MUTED, lw=0.8, zorder=0)
        ax.set(yticks=-np.arange(len(PUBLISHED)), yticklabels=[_symbol(n) for n in PUBLISHED])
        ax.set(xlabel="change (%)", ylim=(-len(PUBLISHED) + 0.4, 1.1))
        ax.tick_params(axis="y", length=0)
        marks = [
            Line2D([], [], ls="", marker="o", ms=4.5, color=figures.MUTED, label="superficial"),
            Line2D([], [], ls="", **_hollow(figures.MUTED), ms=4.5, label="middle, shared"),
            Line2D(
                [], [], ls="", marker="D", ms=3.2, mfc=figures.PAPER, mec=figures.MUTED,
                label="published",
            ),
        ]  # fmt: skip
        ax.legend(handles=marks, loc="upper center", ncols=3, handletextpad=0.1, columnspacing=0.8)
    figures.title(ax, "Parameter change")
    run.figure("parameter-change", figure, _change_caption(rows, outcome), key=True)
    run.table(
        "parameter-change",
        {key: [row[key] for row in rows] for key in rows[0]},
        "Change over fine training in percent, mean over seeds and its 95 % interval, beside the "
        "median of the published figure, and whether the signs agree. M, S: middle, superficial.",
    )


def learning(run: Run, outcome: Outcome) -> None:
    """Accuracy, staircase, thresholds, and accuracy against offset, over training."""
    fine = outcome.stages["fine"]
    history = fine.history[: fine.steps].astype(float)
    steps = np.arange(1, fine.steps + 1)
    checks = fine.memo["checks"]
    valid = outcome.valid
    at = [entry["step"] for entry in checks]
    figure, ((a, b), (c, d)) = figures.quad(height=4.2)
    window = max(1, min(20, fine.steps // 10))
    smooth = [_running(row, window) for row in history[:, valid, SEEN.index("accuracy")].T]
    figures.seed_lines(a, steps[window - 1 :], 100 * np.array(smooth), color=figures.AMBER)
    figures.mark_line(a, 75)
    a.set(xlabel="step", ylabel="accuracy (%)", ylim=(0, 105))
    figures.title(a, "Accuracy in training", "a")
    figures.seed_lines(b, steps, fine.offsets[: fine.steps, valid].T, color=figures.AMBER)
    b.set(xlabel="step", ylabel="offset (degrees)", ylim=(0, None))
    figures.title(b, "Staircase", "b")
    found = _reached(np.array([entry["threshold"] for entry in checks]).T)
    figures.seed_lines(c, at, found[valid], color=figures.AMBER, marker="o")
    _before_after(c, outcome, at)
    # Far below the offsets that were tested a threshold is but a straight line prolonged.
    c.set(xlabel="step", ylabel="threshold (degrees)", ylim=(0.03, 40))
    figures.log_axis(c, "y", ticks=(0.1, 0.3, 1, 3, 10, 30))
    figures.title(c, "Threshold", "c")
    _psychometric(d, outcome)
    figures.title(d, "Accuracy by offset", "d")
    run.figure("learning", figure, _learning_caption(outcome))


def accuracy(run: Run, outcome: Outcome) -> None:
    """How pretraining went: accuracy on the general task and on the fine one."""
    general = outcome.stages["pretraining"]
    history = general.history[: general.steps].astype(float)
    history[history[..., SEEN.index("loss")] == 0] = np.nan
    figure, (a, b) = figures.double(2)
    window = max(1, min(20, general.steps // 5))
    smooth = [_running(row, window) for row in history[..., SEEN.index("accuracy")].T]
    steps = np.arange(window, general.steps + 1)
    figures.seed_lines(a, steps, 100 * np.array(smooth), color=figures.GREY)
    figures.mark_line(a, 50, "chance")
    a.set(xlabel="step", ylabel="accuracy (%)", ylim=(0, 105))
    figures.title(a, "General task", "a")
    checks = general.memo["checks"]
    if checks:
        found = _reached(np.array([entry["threshold"] for entry in checks]).T)
        figures.seed_lines(b, [e["step"] for e in checks], found, color=figures.GREY, marker="o")
    b.axhspan(5, 25, color=figures.WASH, lw=0, zorder=-1)
    b.set(xlabel="step", ylabel="fine threshold (degrees)", ylim=(0.5, 120))
    figures.log_axis(b, "y", ticks=(1, 3, 10, 30, 90))
    figures.title(b, "Fine threshold", "b")
    passed = sum("thresholds" in str(e["why"]) for e in general.memo["ended"].values())
    ready = sum(
        "under 20" in str(e["why"]) for e in outcome.stages["readout"].memo["ended"].values()
    )
    caption = (
        f"General pretraining alone brought {passed} of {len(outcome.seeds)} seeds to a fine "
        f"threshold between 5 and 25 degrees; {ready} reached under 20 once the fine readout "
        "learned.\nThin lines are seeds, the thick one their mean; a threshold that was not "
        "reached is not drawn."
    )
    run.figure("pretraining", figure, caption)


def tuning_change(run: Run, tuned: Mapping[str, Mapping[str, np.ndarray]]) -> None:
    """Change of slope and of width by preferred orientation relative to the trained one."""
    figure, axes = figures.quad(height=4.2)
    medians = {}
    for row, (layer, features) in zip(axes, tuned.items(), strict=True):
        away = (features["pref_ori"][0] - TRAINED + 90) % 180 - 90
        for ax, name, label in zip(
            row, ("slope_55", "fwhm"), ("slope at 55° (%/deg)", "width (degrees)"), strict=True
        ):
            scale = 100 if name == "slope_55" else 1
            values = np.abs(features[name]) if name == "slope_55" else features[name]
            change = scale * (values[1] - values[0])
            medians[layer, name] = _scatter(ax, away.ravel(), change.ravel(), layer)
            ax.set(xlabel="preferred minus 55 (degrees)", ylabel=f"change of {label}")
            ax.set_xticks([-90, -45, 0, 45, 90])
    for letter, ax, text in zip(
        "abcd", axes.ravel(),
        ("Slope, middle", "Width, middle", "Slope, superficial", "Width, superficial"),
        strict=True,
    ):  # fmt: skip
        figures.title(ax, text, letter)
    near = medians["superficial", "slope_55"]
    caption = (
        f"Superficial E cells that prefer 20 to 50 degrees from the trained orientation changed "
        f"their slope there by {near:+.2f} % of the peak per degree (median).\nEach dot is a cell "
        "of a seed; the line is the running median. Slopes are sizes, of curves over their peak."
    )
    run.figure("tuning-change", figure, caption)


def decoding(run: Run, found: Mapping[str, np.ndarray]) -> None:
    """Decoding accuracy and Mahalanobis ratio before and after, by layer and orientation."""
    figure, axes = figures.double(2)
    for ax, name, label in zip(
        axes, ("accuracy", "snr"), ("decoding accuracy (%)", "distance over spread"), strict=True
    ):
        scale = 100 if name == "accuracy" else 1
        for layer in range(2):
            for k, (color, mark) in enumerate(((figures.AMBER, "55°"), (figures.VIOLET, "125°"))):
                values = scale * found[name][:, :, layer, k]
                x = 3 * layer + 1.2 * k + np.array([0, 0.8])
                _pairs(ax, x, values, color, hollow=bool(k))
                if layer == 0:
                    ax.plot([], [], color=color, label=mark, lw=1.8, ls=figures.DASH if k else "-")
        ax.set(xticks=[1.0, 4.0], xticklabels=["middle", "superficial"], ylabel=label)
        ax.set_ylim(0, 105 if name == "accuracy" else None)
    with figures.style():
        axes[0].legend(loc="lower left", title="orientation")
    figures.mark_line(axes[0], 50, "chance")
    figures.title(axes[0], "Decoding against 0°", "a")
    figures.title(axes[1], "Mahalanobis ratio", "b")
    gain = 100 * np.nanmean(found["accuracy"][1] - found["accuracy"][0], axis=0)
    caption = (
        f"Decoding of the trained orientation moved by {gain[1, 0]:+.1f} points in the superficial "
        f"and {gain[0, 0]:+.1f} in the middle layer; of the untrained one by {gain[1, 1]:+.1f} and "
        f"{gain[0, 1]:+.1f}.\nEach line is a seed from before (left) to after training (right); "
        "thick lines are means. Amber: 55 degrees, trained; violet, dashed: 125 degrees."
    )
    run.figure("decoding", figure, caption)


def slow_modes(run: Run, rates: Mapping[str, np.ndarray]) -> None:
    """Rate of the slowest mode over training, by what is done about slow modes."""
    names = {"penalty": "our penalty", "none": "no penalty", "dx": "published term"}
    colors = {"penalty": figures.TEAL, "none": figures.GREY, "dx": figures.VIOLET}
    figure, axes = figures.double(len(rates)) if len(rates) > 1 else figures.double(2)
    least = {}
    for letter, ax, (name, values) in zip("abc", axes, rates.items(), strict=False):
        figures.seed_lines(
            ax, np.arange(1, len(values) + 1), 1000 * values.T, color=colors[name],
            dashed=name == "dx",
        )  # fmt: skip
        figures.mark_line(ax, 1000 * SLOWEST)
        figures.mark_line(ax, 0)
        ax.axhspan(-1000, 500 * SLOWEST, color=figures.WASH, lw=0, zorder=-1)
        ax.set(xlabel="step", ylabel="slowest rate (1/s)")
        figures.title(ax, names[name][0].upper() + names[name][1:], letter)
        least[name] = 1000 * np.nanmin(values[-LATE:])
    for ax in axes[len(rates) :]:
        ax.set_visible(False)
    top = max(1000 * np.nanmax(values) for values in rates.values())
    bottom = min(0.0, *(1000 * np.nanmin(values) for values in rates.values()))
    for ax in axes:
        ax.set_ylim(bottom - 0.05 * (top - bottom), 1.1 * top)
    said = "; ".join(f"{names[name]} {value:.1f}" for name, value in least.items())
    caption = (
        f"The slowest rate of any seed in the last {LATE} steps, per second: {said}.\n"
        "Decay of the slowest mode of both layers by step; below "
        f"{1000 * SLOWEST:.0f}, dashed, the penalty sets in, shaded is half of that, and "
        "below 0 a network is unstable. Thin lines are seeds, the thick one their mean; "
        "the published term is shown on fewer steps and smaller batches."
    )
    run.figure("slow-modes", figure, caption)


def ablations(run: Run, outcomes: Mapping[str, Outcome]) -> None:
    """Inhibition by layer and threshold after training, by configuration."""
    figure, (a, b) = figures.double(2, widths=(1.2, 1), height=1.4 + 0.4 * len(outcomes))
    medians = {
        name: _median(outcome.missing(outcome.threshold[1])) for name, outcome in outcomes.items()
    }
    order = sorted(outcomes, key=lambda name: -medians[name])
    with figures.style():
        for row, name in enumerate(order):
            change = outcomes[name].change()
            for shift, layer in ((0.15, "m"), (-0.15, "s")):
                values = change[f"ei_{layer}"]
                known = values[np.isfinite(values)]
                _stem(a, row + shift, known, figures.BLUE, hollow=layer == "m")
            own = outcomes[name].missing(outcomes[name].threshold[1])
            known = own[np.isfinite(own)]
            b.plot(known, np.full(len(known), row), "|", color=figures.MUTED, ms=7)
            b.plot(medians[name], row, "o", color=figures.TEAL, ms=5)
        a.axvline(0, color=figures.MUTED, lw=0.8, zorder=0)
        marks = [
            Line2D([], [], ls="", marker="o", ms=4.5, color=figures.BLUE, label="superficial"),
            Line2D([], [], ls="", **_hollow(figures.BLUE), ms=4.5, label="middle"),
        ]
        a.legend(handles=marks, loc="upper left", bbox_to_anchor=(0, -0.3), ncols=2)
        for ax in (a, b):
            ax.set(yticks=range(len(order)), ylim=(-0.6, len(order) - 0.4))
        a.set_yticklabels(order)
        b.set_yticklabels([])
    a.set(xlabel="change of I/E (%)")
    b.set(xlabel="threshold after (degrees)", xlim=(0, None))
    figures.title(a, "Inhibition/excitation", "a")
    figures.title(b, "Threshold at 55°", "b")
    gaps = {
        name: _median(outcome.change()["ei_s"] - outcome.change()["ei_m"])
        for name, outcome in outcomes.items()
    }
    said = "; ".join(f"{name} {gap:+.1f} points" for name, gap in gaps.items())
    caption = (
        f"Inhibition rose more in the superficial than in the middle layer by: {said} (medians)."
        "\nDots are means with 95 % intervals (a) and medians (b), ticks are seeds; the hardest "
        "configuration is at the bottom."
    )
    run.figure("ablations", figure, caption, key=True)


def _stem(ax: Axes, y: float, values: np.ndarray, color: str, *, hollow: bool) -> None:
    """A line from zero to the mean, the interval, and a tick for each seed."""
    if not len(values):
        return
    mean = float(values.mean())
    ax.plot([0, mean], [y, y], color=color, lw=1.2, ls=figures.DASH if hollow else "-", zorder=1)
    ax.plot(values, np.full(len(values), y), "|", color=color, ms=5, alpha=0.5, zorder=2)
    if len(values) > 1:
        found = interval(values)
        ax.plot([found.low, found.high], [y, y], color=color, lw=2.4, alpha=0.45, zorder=1)
    style: dict[str, Any] = _hollow(color) if hollow else {"marker": "o", "color": color}
    ax.plot(mean, y, ms=4.5, zorder=3, **style)


def _agreement(values: np.ndarray, published: float) -> str:
    """Does the interval lie on the published side of zero?"""
    if len(values) < 2:
        return "unclear"
    found = interval(values)
    if published == 0:
        agrees = found.low > -SAME and found.high < SAME
        differs = found.low > SAME or found.high < -SAME
    else:
        low, high = sorted(np.sign(published) * np.array([found.low, found.high]))
        agrees, differs = low > 0, high < 0
    return "agrees" if agrees else "differs" if differs else "unclear"


def _change_caption(rows: Sequence[Mapping[str, Any]], outcome: Outcome) -> str:
    names = {
        verdict: [row["parameter"] for row in rows if row["verdict"] == verdict]
        for verdict in ("agrees", "differs", "unclear")
    }
    parts = [f"{verdict}: {', '.join(those)}" for verdict, those in names.items() if those]
    return (
        f"{len(names['agrees'])} of {len(rows)} changes have the published sign, "
        f"{len(names['differs'])} the other "
        f"({'; '.join(parts)}).\nPercent of the size before fine training; dots are means of "
        f"{int(outcome.valid.sum())} seeds, bars 95 % intervals, ticks seeds; red from E, blue "
        "from I; filled superficial, hollow middle. Baselines are shared by the layers here. "
        "Diamonds are the medians of the published figure, read by eye; it predates that."
    )


def _learning_caption(outcome: Outcome) -> str:
    before, after = (_median(outcome.missing(row)) for row in outcome.threshold)
    return (
        f"The threshold at 55 degrees went from {before:.2f} to {after:.2f} degrees (medians of "
        f"{int(outcome.valid.sum())} seeds).\nThin lines are seeds, thick ones their mean. a is a "
        "running mean of batches, its dashed line the staircase's 75 %; c in amber is the frozen "
        "readout about 55, hollow violet a readout fitted anew about 125 degrees, before and "
        "after; d before dashed, after solid."
    )


def _before_after(ax: Axes, outcome: Outcome, at: Sequence[int]) -> None:
    found = np.array([outcome.missing(row) for row in outcome.refitted["untrained"]])
    found = np.where(np.isfinite(found), found, np.nan)
    if not len(at) or not np.isfinite(found).any():
        return
    with figures.style(), np.errstate(all="ignore"):
        mean = [_median(row) for row in found]
        ax.plot([0, at[-1]], mean, color=figures.VIOLET, lw=1.2, ls=figures.DASH)
        ax.plot([0, at[-1]], mean, ls="", ms=4.5, **_hollow(figures.VIOLET))
    figures.label_line(ax, 0, mean[0], "125°", figures.VIOLET, dy=8, dx=2)


def _psychometric(ax: Axes, outcome: Outcome) -> None:
    for stage, dashed in ((0, True), (1, False)):
        rows = 100 * outcome.accuracy[stage][outcome.valid]
        figures.seed_lines(ax, OFFSETS, rows, color=figures.AMBER, dashed=dashed, marker="o")
    figures.mark_line(ax, 75)
    figures.log_axis(ax, "x", ticks=OFFSETS)
    ax.set(xlabel="offset (degrees)", ylabel="accuracy (%)", ylim=(0, 105))


def _scatter(ax: Axes, x: np.ndarray, y: np.ndarray, layer: str) -> float:
    """Dots and their running median; the median of those 20 to 50 degrees away."""
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    with figures.style():
        ax.plot(x, y, ".", ms=1.5, color=figures.RED, alpha=0.25, rasterized=True)
        edges = np.linspace(-90, 90, 19)
        middle = (edges[1:] + edges[:-1]) / 2
        inside = [y[(x >= low) & (x < high)] for low, high in pairwise(edges)]
        line = [float(np.median(v)) if len(v) else np.nan for v in inside]
        ax.plot(middle, line, color=figures.INK, lw=1.8, ls=figures.DASH if LAYER[layer] else "-")
        ax.axhline(0, color=figures.MUTED, lw=0.8, zorder=0)
        low, high = np.percentile(y, [1, 99]) if len(y) else (-1, 1)
        ax.set_ylim(1.2 * min(low, -1e-9), 1.2 * max(high, 1e-9))
    flank = y[(np.abs(x) >= 20) & (np.abs(x) <= 50)]
    return float(np.median(flank)) if len(flank) else float("nan")


def _pairs(ax: Axes, x: np.ndarray, values: np.ndarray, color: str, *, hollow: bool) -> None:
    dashes = figures.DASH if hollow else "-"
    style: dict[str, Any] = _hollow(color) if hollow else {"marker": "o", "color": color}
    with figures.style():
        for row in values.T:
            ax.plot(x, row, color=color, lw=0.6, alpha=0.45, ls=dashes)
        mean = [
            np.mean(row[np.isfinite(row)]) if np.isfinite(row).any() else np.nan for row in values
        ]
        ax.plot(x, mean, color=color, lw=1.8, ls=dashes)
        ax.plot(x, mean, ls="", ms=4.5, **style)


def _hollow(color: str) -> dict[str, Any]:
    return dict(figures.hollow(color))


def _running(row: np.ndarray, window: int) -> np.ndarray:
    """Means of so many neighbours."""
    return np.asarray(np.convolve(row, np.ones(window) / window, "valid"))


def _reached(found: np.ndarray) -> np.ndarray:
    return np.asarray(np.where(found < UNREACHED, found, np.nan))


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")


def _symbol(name: str) -> str:
    letter, index = name.split("_")
    return f"${letter}_{{{index}}}$" if len(index) > 1 else f"${letter}_{index}$"
