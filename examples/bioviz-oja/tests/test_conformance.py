"""The checks that come with bioviz-core; each says why it matters and how to fix a failure."""

from __future__ import annotations

from functools import partial

import bioviz_core as bv
import pytest
from bioviz_core.testing import Case, parametrize_with_checks, reference_task

LOCAL = partial(bv.create, "core/local", rule="oja/oja", rate=0.01)
TRAINING = [
    Case(f"oja-in-{name}", LOCAL, reference_task(name))  # type: ignore[arg-type]  # a framework
    for name in ("numpy", "torch")
]


@pytest.mark.slow
@parametrize_with_checks(plugins=["oja"], rules=["oja/oja", *TRAINING])
def test_conforms(case, check):
    check(case)
