from __future__ import annotations

import inspect
from pathlib import Path

import pytest
from bioviz_core import errors
from bioviz_core.errors import (
    AmbiguousNameError,
    BiovizError,
    CheckpointError,
    ConfigError,
    DivergedError,
    IncompatibleError,
    Problem,
    RunLockedError,
    UnknownNameError,
)
from bioviz_core.interfaces import Refusal

ALL = [
    found
    for _, found in inspect.getmembers(errors, inspect.isclass)
    if issubclass(found, Exception) and found.__module__ == errors.__name__
]


def test_there_is_one_root() -> None:
    assert len(ALL) > 10
    assert all(issubclass(error, BiovizError) for error in ALL)


def test_only_the_root_and_errors_on_purpose_are_caught_by_the_root() -> None:
    assert BiovizError.__bases__ == (Exception,)


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (UnknownNameError("x"), LookupError),
        (ConfigError([]), ValueError),
        (errors.DataError(), ValueError),
        (errors.MissingDependencyError(), ImportError),
        (IncompatibleError([]), TypeError),
        (DivergedError(1, "loss"), ArithmeticError),
    ],
)
def test_who_catches_the_builtin_error_catches_ours(
    error: BiovizError, builtin: type[Exception]
) -> None:
    assert isinstance(error, builtin)


def test_messages_say_what_and_what_to_do() -> None:
    unknown = UnknownNameError("ssn/two-layr", ["ssn/two-layer"], "model")
    assert str(unknown) == (
        "no model is called 'ssn/two-layr'. Did you mean ssn/two-layer? See: bioviz list"
    )
    assert "kind='rule'" in str(AmbiguousNameError("x/y", ["rule", "model"]))
    assert str(RunLockedError(Path("runs/a"), "process 7")).startswith(
        "runs/a is being written by process 7."
    )
    assert str(CheckpointError("no such leaf", path="rule.buffer")) == "rule.buffer: no such leaf"
    diverged = DivergedError(12, "loss", float("inf"))
    assert "loss is inf at step 12" in str(diverged)
    assert (diverged.step, diverged.metric) == (12, "loss")


def test_a_config_error_aligns_all_its_problems() -> None:
    problems = (
        Problem("solver.max_step", "unknown key", "--set", ("solver.max_steps",)),
        Problem("lr", "-1 must be greater than 0"),
    )
    error = ConfigError(problems, of="ssn.toml")
    assert error.problems == problems
    assert str(error).splitlines() == [
        "2 problems in ssn.toml",
        "  solver.max_step  unknown key (from --set). Did you mean solver.max_steps?",
        "  lr               -1 must be greater than 0.",
    ]
    assert str(ConfigError(problems[:1])).startswith("1 problem in the configuration\n")


def test_an_incompatible_error_lists_every_refusal() -> None:
    refusals = (Refusal("data", "labels", "no labels"), Refusal("framework", "jax", "jax, torch"))
    error = IncompatibleError(refusals)
    assert error.refusals == refusals
    assert str(error).splitlines()[1:] == ["  data: no labels", "  framework: jax, torch"]
