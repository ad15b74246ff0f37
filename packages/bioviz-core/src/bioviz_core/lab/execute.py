"""Running an experiment and going on with one: directory, lock, signals, hooks, claims, report."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from pluggy import HookImpl

from bioviz_core.errors import BiovizError, ConfigError, Problem, StoppedError
from bioviz_core.interfaces import Claim
from bioviz_core.lab import environment, rundir
from bioviz_core.lab.atomic import read_json, write_json
from bioviz_core.lab.claims import judge
from bioviz_core.lab.config import Config, ModelInput, resolve
from bioviz_core.lab.record import RunRecord
from bioviz_core.lab.report.build import report
from bioviz_core.lab.run import Run, number
from bioviz_core.refs import Ref
from bioviz_core.registry import registry

SETTINGS = ("seed", "preset", "device", "precision", "threads")


def run(
    name: str, *, preset: str = "smoke", seed: int = 0,
    config: str | Path | Mapping[str, Any] | None = None, sets: Sequence[str] = (),
    folder: str | Path = "runs", device: str = "auto", precision: str = "float32",
    threads: int | None = None, **options: Any,
) -> RunRecord:  # fmt: skip
    """Run an experiment and read it back; `options` are fields of its configuration.

    Raises `ConfigError` before anything is written; what the experiment raises afterwards passes
    through, with the directory in a note, and the run can be resumed.
    """
    ref = registry().ref(name, kind="experiment")
    resolved = _resolve(ref, seed, preset, file=config, sets=sets, options=options)
    inputs = {key: value for key, value in resolved if isinstance(value, ModelInput)}
    head = {"preset": preset, "seed": seed}
    manifest = {
        **head,
        "distribution": ref.distribution,
        "title": ref.summary,
        "question": ref.load().question,
        "paper": ref.paper,
        "device": device,
        "precision": precision,
        "threads": threads,
        "parent": None,
        "facts": {key: f"{value}, sha256 {value.sha256[:16]}" for key, value in inputs.items()},
    }
    # The process that writes makes the directory; the others never look at it.
    path = Path(folder) / "of-another-process"
    if is_writer():
        written = {"experiment": name, **head, **resolved.model_dump(mode="json")}
        captured = environment.capture(ref.distribution)
        path = rundir.create(Path(folder), name, manifest, config=written, environment=captured)
    return _go(path, ref, resolved, manifest)


def resume(path: str | Path) -> RunRecord:
    """Go on with a run from its last checkpoints; a finished one is returned as it is.

    It ends in the same bytes as if it had never stopped.
    """
    path = Path(path)
    manifest = rundir.read_manifest(path)
    if manifest["status"] != "finished":
        ref = registry().ref(manifest["experiment"], kind="experiment")
        resolved = _resolve(ref, manifest["seed"], None, file=path / "config.json")
        _go(path, ref, resolved, manifest)
    elif not (path / "report.html").exists():  # killed after its end
        report(path)
    return RunRecord(path)


def is_writer() -> bool:
    """Of several processes under torchrun, the first one writes."""
    return os.environ.get("RANK", "0") == "0"


def _resolve(ref: Ref, seed: int, preset: str | None, **sources: Any) -> Config:
    if seed < 0:
        raise ConfigError([Problem("seed", f"{seed} must not be negative")])
    if (config_class := ref.load_config()) is None:
        raise BiovizError(f"{ref.name} was registered without config=: tell {ref.distribution}")
    presets: Mapping[str, Any] = ref.load().presets
    resolved: Config = resolve(
        config_class, name=ref.name, preset_name=preset, presets=presets, **sources
    )
    return resolved


def _go(path: Path, ref: Ref, config: Config, manifest: Mapping[str, Any]) -> RunRecord:
    """Run from the start or from checkpoints: where there are none, the two are the same."""
    settings = {key: manifest[key] for key in SETTINGS}
    # Threads that spin while they wait cost small networks most of their time on a busy machine.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if settings["threads"]:  # XLA takes its own when it starts, which may be before any `fit`
        os.environ["PJRT_NPROC"] = str(settings["threads"])
    with ExitStack() as stack:
        if is_writer():
            stack.enter_context(rundir.locked(path))
            rundir.update_manifest(path, status="running", pid=os.getpid(), finished=None)
            (path / "summary.json").unlink(missing_ok=True)
        run = stack.enter_context(Run(path, writes=is_writer(), **settings))
        if observers := _observers("bioviz_run_logged"):
            run.on_log = lambda run, step, row: _tell(observers, run=run, step=step, row=row)
        try:
            if run.writes:
                _note_changes(run, ref)
            _tell(_observers("bioviz_run_started"), run=run)
            with _signals(run):
                experiment = ref.load()()
                summary = _summary(experiment.run(config, run), run, experiment.claims)
        except BaseException as error:
            error.add_note(f"run {path}")
            if run.writes:
                _failed(run, error)
            raise
        if run.writes:
            write_json(path / "summary.json", summary)
            _end(path, "finished", finished=rundir.now())
        _tell(_observers("bioviz_run_finished"), run=run, summary=summary)
        if run.writes:
            report(path)
    return RunRecord(path)


def _summary(values: object, run: Run, claims: Sequence[Claim]) -> dict[str, Any]:
    """What summary.json holds: numbers by name, those for the report, and the judged claims."""
    if not isinstance(values, Mapping):
        raise TypeError(f"Experiment.run must return numbers by name, got {values!r}")
    scalars: dict[str, Any] = {}
    for name, value in values.items():
        several = isinstance(value, list | tuple) or bool(getattr(value, "shape", ()))
        scalars[name] = [number(name, v) for v in value] if several else number(name, value)
    verdicts = [asdict(judge(claim, scalars, preset=run.preset)) for claim in claims]
    return {"scalars": scalars, "numbers": list(run.numbers.values()), "claims": verdicts}


def _failed(run: Run, error: BaseException) -> None:
    """Say in the directory how the run ended, and build its report; never hide `error`."""
    stopped = isinstance(error, StoppedError | KeyboardInterrupt)
    # A full disk may be why the run failed: then these fail too, and that is no news.
    with suppress(OSError, BiovizError):
        run.note(str(error) if stopped else traceback.format_exc())
        _end(run.path, "stopped" if stopped else "failed")
        try:
            report(run.path)
        except Exception:
            run.note(f"the report could not be built\n{traceback.format_exc()}")


def _end(path: Path, status: str, **changes: Any) -> None:
    # The frameworks are imported only now, so only now can their devices be asked for.
    file = path / "environment.json"
    write_json(file, {**read_json(file), "devices": environment.devices()})
    rundir.update_manifest(path, status=status, pid=None, **changes)


def _note_changes(run: Run, ref: Ref) -> None:
    """A resumed run on other versions may differ in the last bits: say so in its log."""
    before = read_json(run.path / "environment.json")["versions"]
    after = environment.versions(ref.distribution)
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            run.note(f"{name} was {before.get(name)} and is now {after.get(name)}")


@contextmanager
def _signals(run: Run) -> Iterator[None]:
    """The first SIGINT or SIGTERM asks the run to stop, the second stops it at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def ask(number: int, frame: FrameType | None) -> None:
        if run.should_stop:
            raise KeyboardInterrupt
        run.should_stop = True
        # Not print: the signal may have come inside another write to stderr.
        os.write(sys.__stderr__.fileno(), b"stopping at the next step; again to stop at once\n")  # type: ignore[union-attr]  # a process has one

    before = {number: signal.signal(number, ask) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _observers(hook: str) -> list[HookImpl]:
    """The plugins' implementations of a hook."""
    return getattr(registry().hooks.hook, hook).get_hookimpls() if is_writer() else []


def _tell(observers: list[HookImpl], *, run: Run, **said: Any) -> None:
    """Call observers; one that fails is noted, called no more, and never stops the run."""
    for observer in list(observers):
        try:
            observer.function(*({"run": run, **said}[name] for name in observer.argnames))
        except Exception:
            observers.remove(observer)
            run.note(f"a hook of {observer.plugin_name} failed\n{traceback.format_exc()}")
