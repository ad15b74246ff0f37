"""Kill runs at random moments, resume them, and compare every byte with a run left alone.

python tests/drill.py --kills 20 --experiment butd/digits
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

# Clocks and machines may differ between two runs, and nothing else.
MAY_DIFFER = {"run.json", "environment.json", "log.txt", "report.html"}


def start(arguments: list[str], folder: Path) -> subprocess.Popen[bytes]:
    """One `bioviz` process with its own folder of runs."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "bioviz_core", *arguments]
    with (folder / "output.txt").open("ab") as output:
        return subprocess.Popen(
            command, cwd=folder, env=environment, stdout=output, stderr=subprocess.STDOUT
        )


def run_alone(experiment: str, folder: Path) -> tuple[Path, float]:
    """The run that nobody disturbs, and how long it took."""
    folder.mkdir(parents=True)
    begun = time.monotonic()
    if start(["run", experiment, "--preset", "smoke"], folder).wait():
        sys.exit((folder / "output.txt").read_text())
    return only_run(folder), time.monotonic() - begun


def only_run(folder: Path) -> Path:
    """The one run directory of this folder."""
    (path,) = (folder / "runs").iterdir()
    return path


def run_killed(experiment: str, folder: Path, moments: list[float]) -> Path:
    """A run killed at each of these moments after it was started or resumed, then finished."""
    folder.mkdir(parents=True)
    arguments = ["run", experiment, "--preset", "smoke"]
    for moment in [*moments, None]:
        process = start(arguments, folder)
        try:
            code = process.wait(moment)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            # Killed before it had a directory: it starts anew, as a user would.
            if (folder / "runs").exists() and list((folder / "runs").iterdir()):
                arguments = ["resume", str(only_run(folder))]
                load(only_run(folder))
            continue
        if code:
            sys.exit((folder / "output.txt").read_text())
        break
    return only_run(folder)


def load(path: Path) -> None:
    """The directory opens and its rows can be read, whatever moment it was left at."""
    import bioviz_core as bv

    record = bv.open_run(path)
    assert record.status in {"created", "crashed", "running", "finished"}, record.status
    len(record.metrics)


def contents(path: Path) -> dict[str, bytes]:
    """Every file that must not differ, the clock taken out of the metrics."""
    files = {}
    for file in sorted(p for p in path.rglob("*") if p.is_file()):
        name = str(file.relative_to(path))
        if name in MAY_DIFFER or name.endswith(".lock"):
            continue
        files[name] = file.read_bytes()
        if name == "metrics.jsonl":
            rows = [json.loads(line) for line in files[name].splitlines()]
            files[name] = json.dumps([{**row, "time": 0} for row in rows]).encode()
    return files


def differences(one: Path, other: Path) -> list[str]:
    """Names of files that are not the same in both directories."""
    a, b = contents(one), contents(other)
    return sorted(name for name in a.keys() | b.keys() if a.get(name) != b.get(name))


def main() -> None:
    """Kill, resume, compare."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--experiment", default="butd/digits")
    options = parser.parse_args()
    chance = random.Random(0)
    with TemporaryDirectory(prefix="bioviz-drill-") as scratch:
        alone, seconds = run_alone(options.experiment, Path(scratch) / "alone")
        print(f"{options.experiment} left alone: {seconds:.1f} s, {len(contents(alone))} files")
        for kill in range(options.kills):
            moments = [chance.uniform(0.2, 1.0) * seconds]
            killed = run_killed(options.experiment, Path(scratch) / f"kill-{kill}", moments)
            wrong = differences(alone, killed)
            print(f"kill {kill + 1:2} at {moments[0]:5.1f} s: {wrong or 'the same bytes'}")
            if wrong:
                sys.exit(1)


if __name__ == "__main__":
    main()
