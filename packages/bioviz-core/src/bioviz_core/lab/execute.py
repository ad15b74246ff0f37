"""Running an experiment and going on with one: directory, lock, signals, hooks, claims, report."""

from __future__ import annotations

import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from bioviz_core.errors import BiovizError, ConfigError, Problem, StoppedError
from bioviz_core.lab import environment, rundir
from bioviz_core.lab.atomic import read_json, write_json
from bioviz_core.lab.config import Config, ModelInput, resolve
from bioviz_core.lab.record import RunRecord
from bioviz_core.lab.run import Run, number
from bioviz_core.refs import Ref
from bioviz_core.registry import registry


def run(
    name: str,
    *,
    preset: str = "smoke",
    seed: int = 0,
    config: str | Path | Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    folder: str | Path = "runs",
    device: str = "auto",
    precision: str = "float32",
    threads: int | None = None,
    **options: Any,
) -> RunRecord:
    """Run an experiment and read it back; `options` are fields of its configuration.

    Raises `ConfigError` before anything is written; what the experiment raises afterwards passes
    through, with the directory in a note, and the run can be resumed.
    """
    ref = registry().ref(name, kind="experiment")
    resolved = _resolve(ref, seed, preset, file=config, sets=sets, options=options)
    manifest = {
        "distribution": ref.distribution,
        "title": ref.summary,
        "question": ref.load().question,
        "paper": ref.paper,
        "seed": seed,
        "preset": preset,
        "device": device,
        "precision": precision,
        "threads": threads,
        "parent": None,
        "pid": None,
        "facts": _inputs(resolved),
    }
    if not is_writer():
        # The process that writes makes the directory; the others never look at it.
        return _go(Path(folder) / "of-another-process", manifest, ref, resolved)
    header = {"experiment": name, "preset": preset, "seed": seed}
    path = rundir.create(
        Path(folder), name, manifest,
        config={**header, **resolved.model_dump(mode="json")},
        environment=environment.capture(ref.distribution),
    )  # fmt: skip
    return _go(path, manifest, ref, resolved)


def resume(path: str | Path) -> RunRecord:
    """Go on with a run from its last checkpoints; a finished one is returned as it is.

    It ends in the same bytes as if it had never stopped.
    """
    path = Path(path)
    manifest = rundir.read_manifest(path)
    if manifest["status"] == "finished":
        return RunRecord(path)
    ref = registry().ref(manifest["experiment"], kind="experiment")
    resolved = _resolve(ref, manifest["seed"], None, file=path / "config.json")
    return _go(path, manifest, ref, resolved, is_resumed=True)


def _resolve(ref: Ref, seed: int, preset: str | None, **sources: Any) -> Config:
    if seed < 0:
        raise ConfigError([Problem("seed", f"{seed} must not be negative")])
    config_class = ref.load_config()
    if config_class is None:
        raise BiovizError(f"{ref.name} was registered without config=: tell {ref.distribution}")
    presets = ref.load().presets
    resolved: Config = resolve(
        config_class, name=ref.name, preset_name=preset, presets=presets, **sources
    )
    return resolved


def _inputs(config: Config) -> dict[str, str]:
    """Which weights a run begins with, for the head of its report."""
    inputs = {name: value for name, value in config if isinstance(value, ModelInput)}
    return {name: f"{value}, sha256 {value.sha256[:16]}" for name, value in inputs.items()}


def is_writer() -> bool:
    """Of several processes under torchrun, the first one writes."""
    return os.environ.get("RANK", "0") == "0"


def _go(
    path: Path,
    manifest: Mapping[str, Any],
    ref: Ref,
    config: Config,
    *,
    is_resumed: bool = False,
) -> RunRecord:
    keys = ("seed", "preset", "device", "precision", "threads")
    settings = {key: manifest[key] for key in keys}
    with ExitStack() as stack:
        if is_writer():
            stack.enter_context(rundir.locked(path))
            rundir.update_manifest(path, status="running", pid=os.getpid(), finished=None)
            (path / "summary.json").unlink(missing_ok=True)
        run = stack.enter_context(Run(path, writes=is_writer(), **settings))
        if is_resumed:
            _note_changes(run, ref)
        if observers := _observers("bioviz_run_logged"):
            run.on_log = lambda run, step, row: _tell(observers, run=run, step=step, row=row)
        try:
            with _signals(run):
                _tell(_observers("bioviz_run_started"), run=run)
                experiment = ref.load()()
                values = experiment.run(config, run)
                summary = _summary(values, run, experiment.claims)
        except BaseException as error:
            _failed(run, error)
            raise
        if run.writes:
            write_json(path / "summary.json", summary)
            _update_devices(path)
            rundir.update_manifest(path, status="finished", pid=None, finished=rundir.now())
        _tell(_observers("bioviz_run_finished"), run=run, summary=summary)
        if run.writes:
            _report(path)
    return RunRecord(path)


def _summary(values: object, run: Run, claims: Sequence[Any]) -> dict[str, Any]:
    """What summary.json holds: numbers by name, those for the report, and the judged claims."""
    from bioviz_core.lab.claims import judge

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
    if not run.writes:
        return
    stopped = isinstance(error, StoppedError | KeyboardInterrupt)
    error.add_note(f"run {run.path}")
    # A full disk may be why the run failed: then these fail too, and that is no news.
    with suppress(OSError, BiovizError):
        run.note(str(error) if stopped else traceback.format_exc())
        _update_devices(run.path)
        status = "stopped" if stopped else "failed"
        rundir.update_manifest(run.path, status=status, pid=None)
    try:
        _report(run.path)
    except Exception:
        with suppress(OSError, BiovizError):
            run.note(f"the report could not be built\n{traceback.format_exc()}")


def _report(path: Path) -> None:
    from bioviz_core.lab.report.build import report

    report(path)


def _update_devices(path: Path) -> None:
    """The frameworks are imported only now, so only now can their devices be asked for."""
    file = path / "environment.json"
    write_json(file, {**read_json(file), "devices": environment.devices()})


def _note_changes(run: Run, ref: Ref) -> None:
    """A resumed run on other versions may differ in the last bits: say so in its log."""
    if run.writes:
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


Observers = list[tuple[str, Callable[..., object]]]


def _observers(hook: str) -> Observers:
    """Each plugin's implementation of a hook, with the plugin's name."""
    hooks = registry().hooks
    found: Observers = []
    for plugin in hooks.get_plugins() if is_writer() else ():
        if hook in {caller.name for caller in hooks.get_hookcallers(plugin) or ()}:
            others = [other for other in hooks.get_plugins() if other is not plugin]
            caller = hooks.subset_hook_caller(hook, others)
            found.append((str(hooks.get_name(plugin)), caller))
    return found


def _tell(observers: Observers, *, run: Run, **said: Any) -> None:
    """Call observers; one that fails is noted, called no more, and never stops the run."""
    for observer in list(observers):
        name, call = observer
        try:
            call(run=run, **said)
        except Exception:
            observers.remove(observer)
            run.note(f"a hook of {name} failed\n{traceback.format_exc()}")
