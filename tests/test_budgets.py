"""What starting up may import, and what it may cost beside a bare interpreter."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest

HEAVY = ("torch", "jax", "numpy", "scipy", "matplotlib", "pydantic", "rich")
ENVIRONMENT = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
LOADED = "import json, sys; json.dump(sorted(sys.modules), sys.stderr)"


def modules_after(code: str) -> set[str]:
    command = [sys.executable, "-c", f"{code}\n{LOADED}"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=ENVIRONMENT)
    return set(json.loads(done.stderr.splitlines()[-1]))


def ratio(code: str, to: str, count: int = 15) -> float:
    """Best time of one over the best of the other, taken in turns so that both meet one load."""

    def once(code: str) -> float:
        begun = time.perf_counter()
        command = [sys.executable, "-c", code]
        subprocess.run(command, check=True, env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        return time.perf_counter() - begun

    times = [(once(code), once(to)) for _ in range(count)]
    return min(t for t, _ in times) / min(t for _, t in times)


LIST = "from bioviz_core.lab.cli.main import main\ntry: main(['list'])\nexcept SystemExit: pass"


def test_importing_core_loads_the_standard_library_only() -> None:
    extra = modules_after("import bioviz_core") - modules_after("pass")
    roots = {name.split(".")[0] for name in extra} - {"bioviz_core"}
    assert roots <= set(sys.stdlib_module_names)


@pytest.mark.parametrize("code", ["import bioviz_core as bv; bv.list(); bv.plugins()", LIST])
def test_listing_loads_no_framework(code: str) -> None:
    assert not modules_after(code) & set(HEAVY)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("code", "allowed"),
    [
        ("import bioviz_core", 2.5),
        ("import bioviz_core as bv; bv.list()", 8),
        (LIST, 12),
    ],
)
def test_starting_up_stays_within_its_ratio_to_a_bare_interpreter(
    code: str, allowed: float
) -> None:
    assert ratio(code, "pass") <= allowed
