"""One task put to many models: the stimuli decide what a model's shape and classes are.

    models, refused = models_for(bv.create("core/digits"), "butd/*")

A model takes part where its plugin registers `for_task`, a function that is given the source's
`fields` and returns the options of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Field, Model, Refusal, StimulusSource
from bioviz_core.registry import registry


class Models(NamedTuple):
    """By registered name, the models made for a task, and why the others are refused."""

    made: Mapping[str, Model]
    refused: Mapping[str, tuple[Refusal, ...]]


class _Fields(dict[str, Field]):
    def __missing__(self, key: str) -> Field:
        why = f"the model is made by the batch key {key!r}, which the source does not give"
        raise IncompatibleError([Refusal("data", key, why)])


def for_task(name: str, source: StimulusSource, /, **options: Any) -> Model:
    """The registered model, made for the stimuli of `source`; `options` are the rest of its own.

    Raises `IncompatibleError` where such a model cannot be made.
    """
    ref = registry().ref(name, kind="model")
    decide = ref.load_for_task()
    if decide is None:
        why = f"stimuli alone do not decide what {name} is: make it with create and its options"
        raise IncompatibleError([Refusal("model", "for_task", why)])
    decided = {**decide(_Fields(source.fields)), **options}
    unsaid = [key for key, value in decided.items() if value is None and key not in options]
    if unsaid:
        why = "the fields of the source do not say it: give it as an option"
        raise IncompatibleError([Refusal("data", key, f"{key} of {name}: {why}") for key in unsaid])
    model: Model = registry().create(name, kind="model", **decided)
    return model


def models_for(source: StimulusSource, pattern: str = "*") -> Models:
    """Every registered model of this pattern, made for the stimuli of `source` or refused."""
    made, refused = {}, {}
    for ref in registry().list("model", pattern):
        try:
            made[ref.name] = for_task(ref.name, source)
        except IncompatibleError as error:
            refused[ref.name] = error.refusals
    return Models(made, refused)
