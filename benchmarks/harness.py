"""How speed is measured here: as a ratio to a named peer, in turns, with its spread and accuracy.

A row says how many times faster ours is than the peer (below 1: slower; such rows are printed too).
Both sides run one after the other in every round, so a busy machine meets both alike; the ratio is
the median over rounds of the ratios within a round, the spread its quartiles.
"""

from __future__ import annotations

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from importlib.metadata import version
from pathlib import Path

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True, slots=True)
class Row:
    """One comparison; errors are against an oracle that the case names."""

    case: str
    peer: str
    ratio: float
    low: float
    high: float
    ours_ms: float
    peer_ms: float
    ours_error: float
    peer_error: float
    oracle: str


def compare(
    case: str,
    ours: Callable[[], object],
    peer: Callable[[], object],
    *,
    peer_name: str,
    errors: tuple[float, float],
    oracle: str,
    rounds: int = 15,
    warm_up: int = 3,
    after_peer: Callable[[], object] | None = None,
) -> Row:
    """Time both, in turns; `after_peer` runs untimed, for a peer that leaves caches behind."""
    for _ in range(warm_up):
        ours(), peer()
    pairs = []
    for _ in range(rounds):
        mine = _seconds(ours)
        theirs = _seconds(peer)
        if after_peer is not None:
            after_peer()
        pairs.append((mine, theirs))
    ratios = [theirs / mine for mine, theirs in pairs]
    low, _, high = statistics.quantiles(ratios, n=4)
    return Row(
        case,
        peer_name,
        statistics.median(ratios),
        low,
        high,
        1e3 * statistics.median(mine for mine, _ in pairs),
        1e3 * statistics.median(theirs for _, theirs in pairs),
        *errors,
        oracle,
    )


def _seconds(call: Callable[[], object]) -> float:
    begun = time.perf_counter()
    call()
    return time.perf_counter() - begun


def write(
    name: str,
    rows: Iterable[Row],
    *,
    packages: Iterable[str],
    threads: int,
    device: str,
    notes: Sequence[str] = (),
) -> str:
    """Write `results/<name>.json` and `.md`; returns the table. `notes` are what is no time."""
    rows = list(rows)
    about = {
        "date": date.today().isoformat(),
        "device": device,
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
        "threads": threads,
        "python": platform.python_version(),
        "versions": {package: version(package) for package in packages},
    }
    RESULTS.mkdir(exist_ok=True)
    data = {"about": about, "rows": [asdict(row) for row in rows], "notes": list(notes)}
    (RESULTS / f"{name}.json").write_text(json.dumps(data, indent=1) + "\n")
    versions = ", ".join(f"{k} {v}" for k, v in about["versions"].items())
    lines = [
        f"# {name}",
        "",
        f"{about['date']}, {device}, {about['machine']}, {threads} thread(s), "
        f"Python {about['python']}, {versions}. Ratio: times faster than the peer (quartiles).",
        "",
        "| case | peer | ratio | ours (ms) | peer (ms) | error ours | error peer | oracle |",
        "|---|---|---|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.case} | {r.peer} | {r.ratio:.2f} ({r.low:.2f}-{r.high:.2f}) | {r.ours_ms:.3g} | "
        f"{r.peer_ms:.3g} | {r.ours_error:.1e} | {r.peer_error:.1e} | {r.oracle} |"
        for r in rows
    ]
    lines += ["", *(f"- {note}" for note in notes)] if notes else []
    table = "\n".join(lines) + "\n"
    (RESULTS / f"{name}.md").write_text(table)
    return table
