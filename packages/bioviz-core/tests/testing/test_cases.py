from __future__ import annotations

from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
from bioviz_core.bridge.local import Local
from bioviz_core.testing import (
    CHECKS,
    Case,
    Task,
    check_local_rule,
    parametrize_with_checks,
    reference_task,
)


class Hebb:
    """Hebb's rule."""

    def delta(self, pre: Any, post: Any, weight: Any, teach: Any = None) -> Any:
        return post.T @ pre / len(pre)


class Summing(Hebb):
    def delta(self, pre: Any, post: Any, weight: Any, teach: Any = None) -> Any:
        return (post.T @ pre).astype("float64")


def test_every_check_says_why_it_matters_and_how_to_fix_a_failure() -> None:
    for checks in CHECKS.values():
        assert checks
        for check in checks.values():
            assert "Fix:" in (check.__doc__ or ""), check


def test_all_failures_of_a_thing_come_together() -> None:
    check_local_rule(Hebb)
    check_local_rule(Hebb())
    with pytest.raises(ExceptionGroup, match="checks of a local_rule failed") as caught:
        check_local_rule(Summing)
    assert any("a batch shown twice" in str(error) for error in caught.value.exceptions)


def test_each_thing_becomes_one_case_for_each_check_of_its_kind() -> None:
    mark = parametrize_with_checks(rules=[Hebb, Case("core/local", lambda: Local(Hebb()))])
    names = [parameter.id for parameter in mark.args[1]]
    assert len(names) == len(CHECKS["local_rule"]) + len(CHECKS["rule"])
    assert names[0] == "Hebb-check_local_rule_shape"
    assert names[-1] == "core/local-check_rule_sharded"


def test_an_expected_failure_is_strict_and_must_exist() -> None:
    expected = {"Summing-check_local_rule_dtype": "computes in float64"}
    mark = parametrize_with_checks(rules=[Summing], expected_failures=expected)
    (xfail,) = [mark for parameter in mark.args[1] for mark in parameter.marks]
    assert xfail.kwargs == {"reason": "computes in float64", "strict": True}
    with pytest.raises(ValueError, match="no check is called Hebb-check_nothing"):
        parametrize_with_checks(rules=[Hebb], expected_failures={"Hebb-check_nothing": "?"})


def test_reference_networks_of_numpy_and_torch_are_trained_by_gradient_and_by_hand() -> None:
    task = reference_task("numpy")
    model = task.model()
    batch = task.batch(model)
    logits = model(batch["inputs"])
    likelihood = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    wanted = -likelihood[np.arange(16), batch["labels"]].mean()
    assert model.objective.loss(logits, batch) == pytest.approx(wanted, rel=1e-5)
    assert reference_task("torch").value(reference_task("torch").model()) == pytest.approx(
        np.log(10), rel=0.1
    )


LOCAL = Case("core/local", lambda: Local(Hebb(), rate=1e-3), reference_task("numpy"))
TORCH = reference_task("torch")
BACKPROP = Case("core/backprop-torch", lambda: bv.create("core/backprop-torch", optimizer=_sgd))


def _sgd(parameters: Any) -> Any:
    from torch.optim import SGD

    return SGD(parameters, lr=0.1)


@pytest.mark.slow
@parametrize_with_checks(
    plugins=["core"],
    rules=[Hebb, LOCAL, Case("core/local-torch", LOCAL.make, TORCH), BACKPROP],
    models=[
        Case("perceptron", reference_task("numpy").model, reference_task("numpy")),
        Case("sequential", TORCH.model, TORCH),
    ],
    stimuli=["core/digits", Case("photographs", lambda: bv.create("core/photographs", size=16))],
    analyses=[
        Case(
            "core/population",
            data={"activations": np.eye(4)},
            answers={"participation_ratio": 3.0},
        ),
    ],
)
def test_cores_own_things_conform(case: Case, check: Any) -> None:
    check(case)


def test_a_task_measures_what_it_is_told() -> None:
    task = Task(reference_task("numpy").model, measure=lambda model, batch: len(batch["inputs"]))
    assert task.value(task.model()) == 256
