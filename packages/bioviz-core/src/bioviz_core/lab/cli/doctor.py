"""`bioviz doctor`: is this machine well, and is every plugin?"""

from __future__ import annotations

from dataclasses import asdict

import click

from bioviz_core.lab.cli import render
from bioviz_core.lab.doctor import doctor


@click.command("doctor")
@click.option("--runs", "folder", default="runs", help="Where runs are to be written.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def command(folder: str, as_json: bool) -> int:
    """Check this machine and every plugin; exit code 1 where something is wrong."""
    checks = doctor(folder)
    broken = [check for check in checks if check.is_problem]
    if as_json:
        render.as_json([asdict(check) for check in checks])
        return 1 if broken else 0
    machine = [c for c in checks if c.status == "ok" and not c.distribution]
    told = [f"{c.name} {c.detail}" for c in machine if c.name not in ("write", "locks")]
    render.out("   ".join(told))
    rows = [
        (render.verdict(c.status), click.style(c.name, bold=True), c.distribution, f" {c.detail}")
        for c in checks
        if c.distribution or c.is_problem
    ]
    render.table(rows, widths=(6,))
    traces = [check for check in broken if check.traceback]
    if broken:
        follows = " (traceback follows)" if traces else ""
        render.out(f"{len(broken)} problem{'s' * (len(broken) != 1)}{follows}")
    for check in traces:
        render.note(f"\n{check.name} {check.distribution}\n{check.traceback}")
    return 1 if broken else 0
