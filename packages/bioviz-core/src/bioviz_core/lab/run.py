"""What an experiment writes through: metrics, figures, tables, arrays, models, checkpoints.

A run that is resumed calls `Experiment.run` again from the start. Its phases of learning restore
their checkpoints; every other write puts down the same bytes again. The metrics are a tape: rows
that the newest checkpoint stands on are kept, and logging over them changes nothing.
"""

from __future__ import annotations

import csv
import io
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from bioviz_core.errors import DivergedError, RunStateError, StoppedError
from bioviz_core.interfaces import Array, Result, Scalar, Tree
from bioviz_core.lab import atomic, rundir, seeding
from bioviz_core.lab.checkpoint import ANY, load_tree, read_extra, save_tree
from bioviz_core.lab.leaves import to_numpy
from bioviz_core.lab.progress import Bar

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from bioviz_core.refs import Recipe

T = TypeVar("T")
CHECKPOINTS = "checkpoints/*/step-*.safetensors"
OnLog = Callable[["Run", int, Mapping[str, float]], None]


class Run:
    """An open run directory. Where `writes` is false nothing is written: another process does.

    `preset`, `device`, `precision` and `threads` are what the run was started with. `should_stop`
    turns true when somebody asked the run to stop: save, and raise `StoppedError`.
    """

    def __init__(
        self, path: Path, *, seed: int, preset: str = "smoke", device: str = "auto",
        precision: str = "float32", threads: int | None = None, writes: bool = True,
    ) -> None:  # fmt: skip
        self.path, self.seed, self.preset = path, seed, preset
        self.device, self.precision, self.threads = device, precision, threads
        self.writes, self.should_stop = writes, False
        self.numbers: dict[str, dict[str, Any]] = {}
        self.on_log: OnLog | None = None
        self._figures: dict[str, int] = {}
        self._phases: set[str] = set()
        self._open_arrays: dict[str, np.memmap[Any, Any]] = {}
        file = path / "metrics.jsonl"
        kept = max((read_extra(saved)["rows"] for saved in path.glob(CHECKPOINTS)), default=0)
        if writes:
            atomic.keep_lines(file, kept)
            self._lines = file.open("ab", buffering=0)
        self._rows, self._logged = atomic.read_lines(file, kept), 0
        times = [row.pop("time") for row in self._rows]
        self._start = time.monotonic() - (times[-1] if times else 0.0)

    def __repr__(self) -> str:
        return f"Run({str(self.path)!r}, seed={self.seed})"

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    # Randomness

    def rng(self, *stream: seeding.Name) -> np.random.Generator:
        """A NumPy generator, independent per name."""
        return seeding.rng(self.seed, *stream)

    def seed_for(self, *stream: seeding.Name) -> int:
        """A seed per name, for torch, JAX and scikit-learn."""
        return seeding.seed_for(self.seed, *stream)

    # Metrics and progress

    def log(self, step: int, *, phase: str = "fit", **metrics: Scalar) -> None:
        """Add a row to the metrics; `DivergedError` where a value is not finite."""
        row = finite(step, metrics)
        if taken := row.keys() & {"phase", "step", "time"}:
            raise ValueError(f"a metric cannot be called {min(taken)!r}: name it otherwise")
        self._logged += 1
        if self._logged <= len(self._rows):
            before = self._rows[self._logged - 1]
            if (before["phase"], before["step"]) != (phase, step):
                was = f"row {self._logged} is step {before['step']} of {before['phase']}"
                why = f"but the resumed run logs step {step} of {phase}: start it again"
                raise RunStateError(f"{self.path} ran another experiment: {was}, {why}")
            return
        self._rows.append({"phase": phase, "step": step, **row})
        if self.writes:
            took = round(time.monotonic() - self._start, 3)
            atomic.append(self._lines, {"phase": phase, "step": step, "time": took, **row})
            if self.on_log is not None:
                self.on_log(self, step, row)

    def metrics(self, phase: str | None = None) -> list[dict[str, Any]]:
        """The rows logged so far, without their times: no result may depend on the clock."""
        rows = self._rows[: self._logged]
        return [dict(row) for row in rows if phase in (None, row["phase"])]

    def bar(self, label: str, total: int | None, done: int = 0) -> Bar | None:
        """A progress display, where this process is the one that shows it."""
        return Bar(label, total, done) if self.writes else None

    def track(self, iterable: Iterable[T], label: str, total: int | None = None) -> Iterator[T]:
        """Go through `iterable`, showing how far; `StoppedError` where the run is to stop."""
        if total is None and isinstance(iterable, Sized):
            total = len(iterable)
        bar = self.bar(label, total)
        try:
            for count, item in enumerate(iterable, 1):
                if self.should_stop:
                    raise StoppedError(f"stopped in {label}, before {count} of {total or '?'}")
                yield item
                if bar is not None:
                    bar.step(count)
        finally:
            if bar is not None:
                bar.close()

    # What the report shows

    def figure(
        self, name: str, figure: Figure | Result, caption: str, *, alt: str | None = None,
        key: bool = False,
    ) -> None:  # fmt: skip
        """Save a figure as SVG and PNG.

        The caption's first line is the finding, computed from this run's numbers; the others say
        how to read the figure. `key` marks the figure that opens the report.
        """
        file = rundir.place(self.path, "figures", name, ".svg")
        if not caption.strip():
            raise ValueError(f"the figure {name!r} needs a caption: the finding, then how to read")
        order = self._figures.setdefault(name, len(self._figures))
        if not self.writes:
            return
        from bioviz_core.lab.report import figures
        from bioviz_core.lab.report.alt import alt_text

        drawn: Any = figure
        notes: Sequence[str] = ()
        if isinstance(figure, Result):
            with figures.style():
                drawn = figure.plot(figures.single()[1]).get_figure(root=True)
            notes = figure.notes
        with TemporaryDirectory() as folder, atomic.room(file):
            for made in figures.save(drawn, Path(folder), name):
                atomic.write(file.parent / made.name, made.read_bytes())
        about = {"caption": caption, "alt": alt or alt_text(drawn, caption), "key": key}
        about |= {"order": order, "notes": list(notes)}
        atomic.write_json(file.with_suffix(".json"), about)

    def number(self, label: str, value: Scalar, unit: str = "") -> None:
        """A key number of the report."""
        self.numbers[label] = {"label": label, "value": number(label, value), "unit": unit}

    def fact(self, label: str, text: str) -> None:
        """A fact for the head of the report, such as which data were used."""
        if self.writes:
            facts = rundir.read_manifest(self.path).get("facts", {})
            rundir.update_manifest(self.path, facts={**facts, label: text})

    def note(self, text: str) -> None:
        """Add to `log.txt`."""
        if self.writes:
            with atomic.room(self.path / "log.txt"), (self.path / "log.txt").open("a") as file:
                file.write(f"{rundir.now()}  {text.rstrip()}\n")

    def table(self, name: str, columns: Mapping[str, Sequence[Any]], caption: str = "") -> None:
        """Save columns of equal length as CSV."""
        file = rundir.place(self.path, "tables", name, ".csv")
        lengths = {column: len(values) for column, values in columns.items()}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the columns of {name!r} differ in length: {lengths}")
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(zip(*(np.asarray(v).tolist() for v in columns.values()), strict=True))
        if self.writes:
            atomic.write_text(file, text.getvalue())
            if caption:
                atomic.write_json(file.with_suffix(".json"), {"caption": caption})

    # Arrays and models

    def array(self, name: str, value: Array) -> None:
        """Save an array as `.npy`."""
        file = rundir.place(self.path, "arrays", name, ".npy")
        array = to_numpy(value if hasattr(value, "dtype") else np.asarray(value))
        content = io.BytesIO()
        np.lib.format.write_array(content, array, allow_pickle=False)
        if self.writes:
            atomic.write(file, content.getvalue())

    def array_writer(self, name: str, shape: tuple[int, ...], dtype: str) -> np.ndarray:
        """An array on disk to be filled in place, for what does not fit into memory.

        Entries filled before the checkpoint that a resumed run starts from are still there; the
        others are filled again. Nothing else may be assumed of entries not filled: they are 0.
        """
        file = rundir.place(self.path, "arrays", name, ".npy")
        if not self.writes:
            return np.zeros(shape, dtype)
        described = {"descr": np.dtype(dtype).str, "fortran_order": False, "shape": tuple(shape)}
        header = io.BytesIO()
        np.lib.format.write_array_header_1_0(header, described)
        start = header.getvalue()
        if not file.exists():
            atomic.write(file, start)
        with file.open("rb+") as stream, atomic.room(file):
            if stream.read(len(start)) != start:
                raise RunStateError(f"{file} holds another array than {dtype} {tuple(shape)}")
            # Where the disk is full, writing into a map of a sparse file would kill the process.
            size = math.prod(shape) * np.dtype(dtype).itemsize
            os.posix_fallocate(stream.fileno(), 0, len(start) + size)
        self._open_arrays[name] = np.lib.format.open_memmap(file, "r+")
        return self._open_arrays[name]

    def model(self, name: str, model: Any, *, recipe: Recipe | None = None) -> None:
        """Save a model under `models/`, to be read by `open_run(path).model(name)`."""
        from bioviz_core.lab.pretrained import save_model

        file = rundir.place(self.path, "models", name, ".safetensors")
        if self.writes:
            provenance = {"seed": self.seed, "preset": self.preset}
            save_model(model, file, recipe=recipe, provenance=provenance)

    # Checkpoints

    def checkpoint(
        self, step: int, tree: Tree, *, phase: str = "fit", metric: float | None = None
    ) -> None:
        """Save a tree; the phase keeps its newest and, where `metric` is given, the lowest."""
        file = self._phase(phase) / f"step-{step:08d}.safetensors"
        if self.writes:
            self.sync()
            marks = {"rows": self._logged, "figures": self._figures, "numbers": self.numbers}
            save_tree(file, tree, extra={"phase": phase, "step": step, "metric": metric, **marks})
            self._prune(phase)

    def restore(self, like: Tree = ANY, *, phase: str = "fit") -> tuple[int, Tree] | None:
        """The newest checkpoint of a phase: its step and tree, refilled into `like` where given."""
        if not (files := self._checkpoints(phase)):
            return None
        if self.writes:
            self._prune(phase)  # a kill may have come between writing one and removing another
        tree, extra = load_tree(files[-1], like), read_extra(files[-1])
        self._logged = extra["rows"]
        self._figures, self.numbers = dict(extra["figures"]), dict(extra["numbers"])
        return int(extra["step"]), tree

    def begin(self, phase: str) -> None:
        """Claim a phase: two of the same name would read each other's checkpoints."""
        if phase in self._phases:
            raise ValueError(f"the phase {phase!r} was used before in this run: name each its own")
        self._phases.add(phase)

    def sync(self) -> None:
        """Make everything written so far last."""
        if self.writes:
            with atomic.room(self.path):
                os.fsync(self._lines.fileno())
            for array in self._open_arrays.values():
                array.flush()

    def close(self) -> None:
        """End writing; a second call does nothing."""
        if self.writes and not self._lines.closed:
            self.sync()
            self._open_arrays.clear()
            self._lines.close()

    def _phase(self, phase: str) -> Path:
        return rundir.place(self.path, "checkpoints", phase, "")

    def _checkpoints(self, phase: str) -> list[Path]:
        return sorted(self._phase(phase).glob("step-*.safetensors"))

    def _prune(self, phase: str) -> None:
        *older, newest = self._checkpoints(phase)
        metrics = {file: read_extra(file)["metric"] for file in (*older, newest)}
        scored = [file for file in metrics if metrics[file] is not None]
        best = min(scored, key=metrics.__getitem__, default=newest)
        for file in older:
            if file != best:
                file.unlink()


def finite(step: int, metrics: Mapping[str, Scalar]) -> dict[str, float]:
    """Metrics as floats; `DivergedError` where one is not finite."""
    row = {name: number(name, value) for name, value in metrics.items()}
    for name, value in row.items():
        if not math.isfinite(value):
            raise DivergedError(step, name, value)
    return row


def number(name: str, value: Scalar) -> float:
    """A scalar of any framework as a float; TypeError where it is none."""
    if type(value) is float:
        return value
    if not isinstance(value, str) and not getattr(value, "shape", ()):
        with suppress(TypeError, ValueError):
            return float(value)
    raise TypeError(f"{name} must be a number, got {value!r}: log arrays with run.array")
