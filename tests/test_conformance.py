"""The checks that strangers run, on everything that the packages here register."""

from __future__ import annotations

from typing import Any

import bioviz_core as bv
import cases
import pytest
from bioviz_core.testing import Case, parametrize_with_checks

CHECKED = {
    "rule": [*cases.RULES, *cases.LOCAL_RULES],
    "model": cases.MODELS,
    "analysis": cases.ANALYSES,
    "stimulus": [*cases.STIMULI, *(ref.name for ref in bv.list("stimulus", "core/*"))],
}


@pytest.mark.parametrize("kind", CHECKED)
def test_nothing_that_is_registered_goes_unchecked(kind: str) -> None:
    checked = {getattr(thing, "name", thing) for thing in CHECKED[kind]}
    assert {ref.name for ref in bv.list(kind)} - checked == set()


@pytest.mark.slow
@parametrize_with_checks(
    plugins=[plugin.name for plugin in bv.plugins()],
    rules=[*cases.RULES, *cases.LOCAL_RULES],
    models=cases.MODELS,
    stimuli=cases.STIMULI,
    analyses=cases.ANALYSES,
    experiments=["butd/digits"],
)
def test_everything_here_conforms(case: Case, check: Any) -> None:
    check(case)
