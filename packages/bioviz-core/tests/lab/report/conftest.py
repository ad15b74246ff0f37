"""A run directory as `lab/run.py` leaves it, with a figure of each kind and every verdict."""

from __future__ import annotations

import csv
import json
import shutil
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pytest
from bioviz_core.interfaces import Claim, Part
from bioviz_core.lab.claims import judge
from bioviz_core.lab.report import figures

NAN = float("nan")
CERTIFICATE = ("certificate",)
CLAIMS = {
    Claim("expo-low", "E exponent exceeds 1 at low contrast", "Rubin 2015, fig. 2",
          "low", "up", 1.2, seeds=5): (2.19, 2.22, 2.24, 2.18, 2.22),
    Claim("expo-high", "E exponent falls below 1 at high contrast", "Rubin 2015, fig. 2",
          "high", "<", 0.8): (0.44, 0.46, 0.49, 0.45, 0.46),
    Claim("width", "Tuning width stays within 10 % over contrast", "Rubin 2015, text",
          "width", "equal", 10.0, "%"): (13.1, 14.9, 12.8, 15.2, 14.0),
    Claim("suppress", "Surround suppresses by a third", "Ozeki 2009, fig. 1", "suppression",
          "up", 0.33): (0.1, 0.52, 0.3, 0.22, 0.46),
    Claim("band", "The rhythm lies in the gamma band and E leads", "abstract", "peak", ">", 30.0,
          "Hz", also=(Part("peak_above", "<", 80.0, "Hz"), Part("lag", "up", 0.0, "ms"))):
        (38.1, 41.0, 39.5, 36.2, 40.1),
    Claim("residual", "Every fixed point is one, to rounding", "theory", "residual", "<=", 1e-10,
          tags=CERTIFICATE): 4.7e-13,
    Claim("flip", "The paradoxical response has the sign that theory gives", "theory", "flips",
          "share", "200/200", tags=CERTIFICATE): 200,
    Claim("bits", "Merging and resetting returns the same bits", "theory", "bits", "exact", 0.0,
          tags=CERTIFICATE): 3.0,
    Claim("faces", "Accuracy on faces exceeds the probe's", "Li 2025, table 1", "faces", "up", 2.0,
          "points", tags=("needs data",)): None,
    Claim("weights", "Familiar images move towards the top", "Lu 2025, fig. 3", "moves", "up",
          0.05, tags=("needs weights",)): None,
    Claim("depth", "Inhibition deepens with contrast", "Rubin 2015, fig. 4", "depth", "up", 0.1):
        None,
}  # fmt: skip
VALUES = {c.metric: v for c, v in CLAIMS.items() if v is not None} | {
    "peak_above": (38.1, 41.0, 39.5, 36.2, 40.1),
    "lag": (4.1, 5.0, 3.5, 4.6, 4.4),
}


def example_run(folder: Path, *, status: str = "finished", preset: str = "laptop") -> Path:
    """Write the run directory; the numbers are invented."""
    path = folder / "ssn-circuit-20260131-142200-7f3a"
    for name in ("figures", "tables", "arrays", "checkpoints/sweep"):
        (path / name).mkdir(parents=True)
    run = {
        "format": 1, "id": "7f3a", "experiment": "ssn/circuit", "status": status,
        "distribution": "bioviz-ssn 0.1.0", "created": "2026-01-31T14:28:00+00:00",
        "title": "Contrast response of a stabilized supralinear network",
        "question": "Does one ring of excitatory and inhibitory cells amplify weak input and "
        "normalize strong input?",
        "paper": {"id": "rubin-2015", "title": "The stabilized supralinear network: a unifying "
                  "circuit motif underlying multi-input integration in sensory cortex",
                  "authors": ["D. B. Rubin", "S. D. Van Hooser", "K. D. Miller"], "year": 2015,
                  "doi": "10.1016/j.neuron.2014.12.026",
                  "bibtex": "@article{rubin2015,\n  title = {The stabilized supralinear network},"
                  "\n  journal = {Neuron},\n  year = {2015}\n}"},
        "updated": "2026-01-31T14:31:12+00:00", "seed": 0, "preset": preset, "parent": None,
        "pid": 4242, "facts": {"data": "synthetic gratings"},
        "finished": "2026-01-31T14:31:12+00:00" if status == "finished" else None,
    }  # fmt: skip
    config = {"experiment": "ssn/circuit", "preset": preset, "seed": 0, "seeds": 5,
              "solver": {"tol": 1e-7, "max_steps": 500, "name": "newton"},
              "contrasts": [1, 3, 5, 10, 20, 50], "cells": 90}  # fmt: skip
    environment = {"python": "3.11.9", "platform": "Linux-6.1-x86_64",
                   "git": {"commit": "7f3a91c0aa", "dirty": False},
                   "versions": {"bioviz-core": "0.1.0", "numpy": "2.4.0", "jax": "0.10.0"},
                   "devices": ["cpu"], "command": "bioviz run ssn/circuit"}  # fmt: skip
    _write(path / "run.json", run)
    _write(path / "config.json", config)
    _write(path / "environment.json", environment)
    (path / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in _metrics()))
    log = "Traceback (most recent call last):\n  ...\nNotConverged: residual 3e-2 after 500 steps\n"
    (path / "log.txt").write_text(log)
    if status == "finished":
        verdicts = [asdict(judge(claim, VALUES, preset=preset)) for claim in CLAIMS]
        numbers = [("Exponent 1 at", 14.2, "% contrast"), ("Peak E rate", 38.61, "Hz"),
                   ("I over E, at 50 %", 2.3, "×"), ("Not converged", 0, "of 150")]  # fmt: skip
        _write(path / "summary.json", {
            "scalars": VALUES, "claims": verdicts,
            "numbers": [dict(zip(("label", "value", "unit"), row, strict=True)) for row in numbers],
        })  # fmt: skip
    for order, (name, (draw, caption, key)) in enumerate(DRAWINGS.items()):
        figures.save(draw(), path / "figures", name)
        alt = f"{name.capitalize()}: line charts. {caption.partition(chr(10))[0]}"
        said = {"caption": caption, "alt": alt, "key": key, "order": order, "notes": []}
        _write(path / f"figures/{name}.json", said)
    _table(path, "fits", 6, "Power-law fits of the E rate, by contrast range.")
    _table(path, "draws", 40, "")
    np.save(path / "arrays/rates.npy", np.zeros((6, 180)), allow_pickle=False)
    return path


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value))


def _metrics() -> list[dict[str, object]]:
    rng, rows = np.random.default_rng(0), []
    for seed in range(5):
        for step in range(0, 200, 4):
            loss = 2.1 * np.exp(-step / 45) + 0.25 + rng.normal(0, 0.04)
            rows.append({"phase": f"fine-{seed}", "step": step, "time": step / 9, "loss": loss,
                         "accuracy": 1 - 0.5 * np.exp(-step / 60) + rng.normal(0, 0.01),
                         })  # fmt: skip
    for phase, rate in (("pretrain", 30), ("readout", 80)):
        for step in range(0, 200, 2):
            residual = 10 ** (-step / rate - 1)
            rows.append({"phase": phase, "step": step, "time": step / 9, "residual": residual,
                         "loss": 2.4 * np.exp(-step / rate) + 0.1})  # fmt: skip
    return rows


def _table(path: Path, name: str, rows: int, caption: str) -> None:
    rng = np.random.default_rng(rows)
    with (path / f"tables/{name}.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["population", "contrast", "exponent", "residual"])
        for place in range(rows):
            fit = rng.normal(1.2, 0.3), 10 ** rng.normal(-9)
            writer.writerow(["EI"[place % 2], place * 5, *fit])
    _write(path / f"tables/{name}.json", {"caption": caption})


@figures.style()
def _circuit():
    rng = np.random.default_rng(1)
    figure, (a, b, c) = figures.double(3, widths=(1, 1, 0.9))
    x = np.geomspace(1, 50, 60)
    rate = 38 * x**2 / (x**2 + 200) ** 0.85
    figures.wash(a, 1, 14, "supralinear")
    figures.seed_lines(a, x, rate, color=figures.RED, label="E")
    figures.seed_lines(a, x, rate * (1 + x / 40), color=figures.BLUE, label="I", dashed=True)
    figures.log_axis(a, "x", (1, 3, 10, 30))
    figures.log_axis(a, "y")
    a.set(xlabel="contrast (%)", ylabel="rate (Hz)")
    figures.title(a, "Contrast response", "a")
    t = np.linspace(-90, 90, 91)
    for color, contrast, peak in zip(figures.RAMP, (5, 10, 20, 50), (2, 12, 24, 38), strict=True):
        b.plot(t, peak * np.exp(-((t / 24) ** 2)), color=color)
        figures.label_line(b, 0, peak, f"{contrast} %", color, dx=0, dy=6, ha="center")
    b.set(xlabel="orientation − preferred (deg)", ylabel="rate (Hz)", xticks=range(-90, 91, 45),
          ylim=(0, 44))  # fmt: skip
    figures.title(b, "E tuning by contrast", "b")
    angle = np.angle(np.fft.ifft2(np.fft.fft2(rng.normal(size=(2, 48, 48))) * _low_pass(48)))
    image = c.imshow(np.degrees(np.mod(angle[0], np.pi)), cmap=figures.orientation_map())
    c.set(xticks=[], yticks=[])
    figures.scale_bar(c, 15, "2 mm")
    figure.colorbar(image, ax=c, location="bottom", label="deg", shrink=0.9)
    figures.title(c, "Preferred orientation", "c")
    return figure


def _low_pass(size: int) -> np.ndarray:
    f = np.fft.fftfreq(size)
    ring = np.hypot(f[:, None], f)
    return np.exp(-(((ring - 0.06) / 0.015) ** 2)) * (f[:, None] >= 0)


@figures.style()
def _change():
    rng = np.random.default_rng(2)
    figure, ax = figures.single()
    names = ["$J_{EE}$", "$J_{IE}$", "$J_{EI}$", "$J_{II}$", "$c_E$", "$c_I$"]
    for row, value in enumerate((-10, -3, 1, 17, -33, 30)):
        color = figures.RED if row in (0, 1, 4) else figures.BLUE
        ax.plot([0, value], [row, row], color=color)
        ax.plot(rng.normal(value, 2.5, 8), np.full(8, row), "|", color=color, alpha=0.5, mew=0.8)
        ax.plot(value, row, color=color, **(figures.hollow(color) if row % 2 else {"marker": "o"}))
    figures.mark_line(ax, 0, axis="x")
    ax.set(yticks=range(6), yticklabels=names, xlabel="change after training (%)")
    ax.invert_yaxis()
    figures.title(ax, "Parameter change")
    return figure


@figures.style()
def _learning():
    rng = np.random.default_rng(3)
    figure, ax = figures.single()
    steps = np.arange(0, 200, 2)
    values = 0.95 - 0.45 * np.exp(-steps / 60) + rng.normal(0, 0.01, (5, 100))
    figures.seed_lines(ax, steps, values, color=figures.TEAL, label="trained")
    band = 0.6 + 0.0003 * steps + rng.normal(0, 0.02, (14, 100))
    figures.seed_lines(ax, steps, band, color=figures.GREY, label="reference", dashed=True)
    figures.mark_line(ax, 0.75, "threshold")
    ax.set(xlabel="step", ylabel="accuracy", ylim=(0, 1))
    figures.title(ax, "Discrimination")
    return figure


@figures.style()
def _maps():
    rng = np.random.default_rng(4)
    figure, (a, b) = figures.double(2)
    cells = np.clip(100 - np.outer([0, 2, 5, 9, 14, 20], [0, 1, 2, 3, 4, 5]), 0, 100)
    figures.heatmap(a, cells, rows=[10, 20, 40, 80, 160, 320], columns=[0, 0.2, 0.4, 0.6, 0.8, 1],
                    low=0, high=100)  # fmt: skip
    a.set(xlabel="noise (s.d.)", ylabel="stored patterns")
    figures.title(a, "Recalled correctly (%)", "a")
    b.pcolormesh(rng.normal(size=(60, 80)), cmap="RdBu_r", vmin=-3, vmax=3)
    b.set(xlabel="time (s)", ylabel="frequency (Hz)")
    figures.title(b, "Power over baseline", "b")
    return figure


@figures.style()
def _images():
    rng = np.random.default_rng(5)
    names = ["stored", "cue", "recalled", "stored", "cue", "recalled"]
    figure, axes = figures.image_grid(2, 6, row_labels=["clean", "noisy"], column_labels=names)
    for place, ax in enumerate(axes.flat):
        right = {2: True, 5: True, 8: False, 11: True}.get(place)
        figures.show_image(ax, rng.random((8, 8)), right=right)
    return figure


DRAWINGS: dict[str, tuple[Callable[[], object], str, bool]] = {
    "change": (_change, "I-source weights grow most, c_I by 30 %.\nTicks: single runs. Marks: "
               "medians; hollow: middle layer.", False),
    "circuit": (_circuit, "The response bends at 14 % contrast.\nBelow (shaded), E rates grow "
                "faster than contrast; above, slower. Ring of 90 E and 90 I cells.", True),
    "learning": (_learning, "Accuracy reaches 0.75 after 48 steps.\nThin: 5 seeds; thick: mean. "
                 "Reference: mean and 95 % band of 14 seeds.", False),
    "maps": (_maps, "Half of 320 patterns survive noise of 1.\nPower (b) has no structure: it is "
             "noise.", False),
    "images": (_images, "Recall is right in 3 of 4 examples.\nTicks and crosses beside the "
               "recalled image.", False),
}  # fmt: skip


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run; tests that change it take a copy."""
    return example_run(tmp_path_factory.mktemp("runs"))


@pytest.fixture
def run(finished: Path, tmp_path: Path) -> Path:
    """A copy of the finished run, without metrics, whose curves take a second to draw."""
    path = Path(shutil.copytree(finished, tmp_path / finished.name))
    (path / "metrics.jsonl").unlink()
    return path


@pytest.fixture
def edit() -> Callable[..., None]:
    """`edit(path, key=value)` changes a JSON file."""

    def change(path: Path, **values: object) -> None:
        _write(path, json.loads(path.read_text()) | values)

    return change
