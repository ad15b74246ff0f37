from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pytest
from bioviz_core import for_task, hookimpl, isolated_registry, models_for
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Field, Refusal
from bioviz_core.stimuli.sources import ArraySource


class Net:
    """What it was made of."""

    def __init__(self, *, inputs: int, classes: int, hidden: int = 3) -> None:
        self.made = (inputs, classes, hidden)


def net_for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    (length,) = fields["inputs"].shape
    return {"inputs": length, "classes": fields["labels"].classes}


def picky(fields: Mapping[str, Field]) -> dict[str, Any]:
    raise IncompatibleError([Refusal("data", "inputs", "nothing is good enough")])


class Plugin:
    @hookimpl
    def bioviz_register(self, registry: Any) -> None:
        here = "toy_models"
        for name, function in {"net": "net_for_task", "picky": "picky", "fixed": None}.items():
            registry.model(name, f"{here}:Net", summary="A net",
                           for_task=function and f"{here}:{function}")  # fmt: skip


@pytest.fixture(autouse=True)
def toy(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setitem(sys.modules, "toy_models", sys.modules[__name__])
    with isolated_registry() as registry:
        registry.register(Plugin(), name="toy")
        yield


INPUTS = np.zeros((6, 5), np.float32)
LABELLED = ArraySource(inputs=INPUTS, labels=np.array([0, 1, 2, 3, 0, 1]))


def test_stimuli_decide_some_options_and_the_caller_the_others() -> None:
    model: Any = for_task("toy/net", LABELLED, hidden=7)
    assert model.made == (5, 4, 7)
    assert model.recipe.options == {"inputs": 5, "classes": 4, "hidden": 7}


def test_the_caller_wins_over_the_stimuli() -> None:
    model: Any = for_task("toy/net", LABELLED, classes=10)
    assert model.made == (5, 10, 3)


def test_every_model_is_made_or_refused_with_its_reason() -> None:
    made, refused = models_for(LABELLED)
    assert list(made) == ["toy/net"]
    assert {name: (r.kind, r.need) for name, (r,) in refused.items()} == {
        "toy/fixed": ("model", "for_task"),
        "toy/picky": ("data", "inputs"),
    }
    assert models_for(LABELLED, "toy/f*") == ({}, {"toy/fixed": refused["toy/fixed"]})


def test_a_key_that_the_source_lacks_is_a_reason_to_refuse() -> None:
    with pytest.raises(IncompatibleError, match="the batch key 'labels'") as caught:
        for_task("toy/net", ArraySource(inputs=INPUTS))
    assert caught.value.refusals[0].kind == "data"


def test_what_the_fields_leave_open_must_be_given() -> None:
    source = ArraySource(inputs=INPUTS, labels=np.zeros(6, int))
    object.__setattr__(source, "fields", {**source.fields, "labels": Field((), "int64")})
    with pytest.raises(IncompatibleError, match="classes of toy/net: the fields"):
        for_task("toy/net", source)
    assert for_task("toy/net", source, classes=2).made == (5, 2, 3)  # type: ignore[attr-defined]  # a toy
