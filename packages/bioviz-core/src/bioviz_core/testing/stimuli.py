"""Checks of stimulus sources, and of analyses on data of which something is known."""

from __future__ import annotations

import copy
import hashlib
import math
import os
import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np

from bioviz_core.testing.tasks import Case

DIGEST = """
import sys, bioviz_core as bv
from bioviz_core.testing.stimuli import digest
print(digest(bv.create(sys.argv[1], kind="stimulus")))
"""


def run_python(code: str, *arguments: str, path: str = "") -> str:
    """The last thing that another process prints; its error where it fails."""
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True,
        env={**os.environ, "PYTHONHASHSEED": "1",
             "PYTHONPATH": os.pathsep.join(filter(None, [path, *sys.path]))},
    )  # fmt: skip
    return done.stdout.strip() if done.returncode == 0 else done.stderr[-500:]


def digest(source: Any) -> str:
    """A hash of the first four samples in two epochs."""
    found = hashlib.sha256()
    for epoch in range(2):
        for key, value in sorted(source.batch(range(4), epoch=epoch).items()):
            found.update(key.encode() + np.ascontiguousarray(value).tobytes())
    return found.hexdigest()


def check_stimulus_fields(case: Case) -> None:
    """`fields` is what rules are matched by, so batches hold what it says: keys, shapes, ranges.

    Fix: describe each key per sample, without the batch axis; arrays are NumPy.
    """
    source = case.thing
    batch = source.batch(range(4))
    assert batch.keys() == source.fields.keys(), f"{[*batch]} came, not {[*source.fields]}"
    for key, field in source.fields.items():
        array = np.asarray(batch[key])
        found, said = (array.shape, str(array.dtype)), ((4, *field.shape), field.dtype)
        assert found == said, f"{key} is {found}, its field says {said}"
        low = 0 if field.low is None and field.classes else field.low
        high = field.classes - 1 if field.high is None and field.classes else field.high
        inside = (low is None or array.min() >= low) and (high is None or array.max() <= high)
        assert inside, f"{key} leaves the range of its field"


def check_stimulus_pure(case: Case) -> None:
    """`(indices, epoch)` decide everything: a resumed run sees what the first one saw.

    Fix: seed by `(seed, epoch, index)`; keep no iterator or generator on the source.
    """
    source = case.thing
    assert digest(source) == digest(source), "asked again, it gives something else"


def check_stimulus_order(case: Case) -> None:
    """A sample does not depend on its place in the batch or on its mates.

    Fix: seed each sample by its own index, not the batch by its first.
    """
    there, back = (case.thing.batch(indices) for indices in (range(4), range(3, -1, -1)))
    for key in there:
        assert np.array_equal(there[key], back[key][::-1]), f"{key} depends on the order of asking"


def check_stimulus_processes(case: Case) -> None:
    """Another process sees the same stimuli; asked of registered names.

    Fix: no `hash()` of text, no process id, no set order in what a sample depends on.
    """
    if case.make is None:
        there = run_python(DIGEST, case.name)
        assert there == digest(case.thing), f"another process sees other stimuli: {there}"


# Analyses


def _scalars(case: Case, data: Mapping[str, Any]) -> dict[str, float]:
    return dict(case.thing(copy.deepcopy(dict(data))).scalars)


def _close(one: float, other: float) -> bool:
    """Equal to 1e-6; what is undefined in both is the same in both."""
    is_undefined = math.isnan(one) and math.isnan(other)
    return is_undefined or math.isclose(one, other, rel_tol=1e-6, abs_tol=1e-6)


def check_analysis_known_answer(case: Case) -> None:
    """A case solved by hand comes out: `Case(..., data={...}, answers={"cka": 1.0})`.

    Fix: the formula; or the answer.
    """
    assert case.answers, "give data and answers"
    found = _scalars(case, case.data)
    for name, answer in case.answers.items():
        is_right = name in found and _close(found[name], answer)
        assert is_right, f"{name} of {found} should be {answer}"


def check_analysis_invariances(case: Case) -> None:
    """What the analysis claims not to depend on does not change it, to 1e-6.

    Fix: centre or normalize; or do not claim it.
    """
    wanted = _scalars(case, case.data)
    for name, change in case.invariances.items():
        found = _scalars(case, change(copy.deepcopy(dict(case.data))))
        same = all(_close(found[scalar], value) for scalar, value in wanted.items())
        assert same, f"not invariant to {name}: {wanted} became {found}"


def check_analysis_data_unmodified(case: Case) -> None:
    """Several analyses read one set of responses, so none may change them.

    Fix: write `x = x - mean`, not `x -= mean`.
    """
    case.thing(given := copy.deepcopy(dict(case.data)))
    changed = [key for key, value in case.data.items() if not np.array_equal(given[key], value)]
    assert not changed, f"the analysis changes {changed}"


def check_analysis_missing_data(case: Case) -> None:
    """Without one of its `needs` an analysis says which one is missing.

    Fix: `raise DataError(f"... needs {key!r}")` before computing.
    """
    for need in case.thing.needs:
        said = "answers without it"
        try:
            _scalars(case, {key: value for key, value in case.data.items() if key != need})
        except Exception as error:
            said = str(error)
        assert need in said, f"without its need {need!r} it says: {said}"
