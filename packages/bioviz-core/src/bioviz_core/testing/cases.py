"""The table of checks, and how they become pytest cases."""

from __future__ import annotations

import copy
import functools
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from bioviz_core.registry import registry
from bioviz_core.testing import models, plugins, rules, stimuli
from bioviz_core.testing.tasks import Case

Check = Callable[..., None]
KINDS = ("plugin", "local_rule", "rule", "model", "stimulus", "analysis", "experiment")


def _explained(check: Check) -> Check:
    """The check of a case, whose parts it takes by name; its docstring goes with what it raises."""

    @functools.wraps(check)
    def checked(case: Case) -> None:
        try:
            check(**{name: getattr(case, name) for name in inspect.signature(check).parameters})
        except Exception as error:
            error.add_note(inspect.getdoc(check) or "")
            raise

    return checked


CHECKS: dict[str, dict[str, Check]] = {
    kind: {
        name: _explained(function)
        for module in (plugins, rules, models, stimuli)
        for name, function in vars(module).items()
        if name.startswith(f"check_{kind}_")
    }
    for kind in KINDS
}
"""The checks by kind of thing, then by name."""


def as_case(thing: Any) -> Case:
    """A registered name, a class, an object or a case, as a case."""
    if isinstance(thing, Case):
        return thing
    if isinstance(thing, str):
        tags = [tag for ref in registry().list() if ref.name == thing for tag in ref.tags]
        return Case(thing, tags=tuple(tags))
    if isinstance(thing, type):
        return Case(thing.__name__, thing)
    return Case(type(thing).__name__, lambda: copy.deepcopy(thing))


def _check_all(kind: str, thing: Any) -> None:
    """Run every check of this kind of thing; all failures come together."""
    failures = []
    for check in CHECKS[kind].values():
        try:
            check(as_case(thing))
        except Exception as error:
            failures.append(error)
    if failures:
        raise ExceptionGroup(f"{len(failures)} checks of a {kind} failed", failures)


check_plugin = functools.partial(_check_all, "plugin")
check_local_rule = functools.partial(_check_all, "local_rule")


def parametrize_with_checks(
    *, expected_failures: Mapping[str, str] | None = None, **things: Iterable[Any]
) -> Any:
    """One pytest case `(case, check)` for each check of each thing: a name, an object or a `Case`.

    `things` are `plugins`, `rules`, `models`, `stimuli`, `analyses` and `experiments`.
    `expected_failures` gives the reason by test id, such as "oja/oja-check_local_rule_finite"; one
    that passes after all is a failure, and so is an id that does not exist.
    """
    import pytest

    plural = {"stimuli": "stimulus", "analyses": "analysis"}
    expected, found = dict(expected_failures or {}), []
    for kinds, several in things.items():
        for case in map(as_case, several):
            is_local = kinds == "rules" and hasattr(case.thing, "delta")
            kind = "local_rule" if is_local else plural.get(kinds, kinds.removesuffix("s"))
            for name, check in CHECKS[kind].items():
                why = expected.pop(id := f"{case.name}-{name}", None)
                marks = [pytest.mark.xfail(reason=why, strict=True)] if why else []
                found.append(pytest.param(case, check, id=id, marks=marks))
    if expected:
        raise ValueError(f"no check is called {', '.join(expected)}")
    return pytest.mark.parametrize(("case", "check"), found)
