from __future__ import annotations

import sys
from typing import Any

import numpy as np
import pytest
from bioviz_core import hookimpl
from bioviz_core.bridge.local import Local
from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import LearningRule
from bioviz_core.lab.fit import collect, fit
from bioviz_core.lab.leaves import to_numpy
from bioviz_core.registry import isolated_registry
from bioviz_core.stimuli.sources import ArraySource
from bioviz_core.testing import reference_task
from bioviz_core.testing.tasks import Perceptron


class Hebb:
    def delta(self, pre: Any, post: Any, weight: Any, teach: Any = None) -> Any:
        return post.T @ pre / len(pre)


class Delta:
    """Widrow and Hoff's rule, whose fixed point on the last layer is the least-squares weight."""

    def delta(self, pre: Any, post: Any, weight: Any, teach: Any = None) -> Any:
        return (teach - post).T @ pre / len(pre)


@pytest.mark.parametrize("framework", ["numpy", "torch"])
def test_a_step_adds_rate_times_delta_to_every_weight(framework: Any) -> None:
    task = reference_task(framework)
    model = task.model()
    batch = task.batch(model)
    before = {n: to_numpy(s.weight) for n, s in model.synapses(batch["inputs"]).items()}
    pre = {
        n: (to_numpy(s.pre), to_numpy(s.post)) for n, s in model.synapses(batch["inputs"]).items()
    }
    rule = Local(Hebb(), rate=0.5)
    after, _, metrics = rule.step(model, batch, rule.init(model, batch, seed=0), seed=0)
    changes = []
    for name, synapse in after.synapses(batch["inputs"]).items():
        changes.append(0.5 * pre[name][1].T @ pre[name][0] / len(batch["inputs"]))
        np.testing.assert_allclose(to_numpy(synapse.weight), before[name] + changes[-1], atol=1e-5)
    wanted = np.sqrt(np.mean([(change**2).mean() for change in changes]))
    assert float(metrics["change"]) == pytest.approx(wanted, rel=1e-5)


def test_frameworks_learn_the_same_from_one_rule() -> None:
    numpy, torch = (reference_task(framework) for framework in ("numpy", "torch"))
    start = numpy.model()
    module = torch.model()
    biasless = {f"module.{n}.weight": w for n, w in start.state_tree().items()}
    module.with_state({**{n: 0 * v for n, v in module.state_tree().items()}, **_tensors(biasless)})
    ends = []
    for model in (start, module):
        fitted = fit(model, Local(Hebb(), rate=1e-3), numpy.source, steps=5, batch_size=16, seed=0)
        ends.append(collect(fitted.model, numpy.source, range(8), layers=["output"])["output"])
    np.testing.assert_allclose(ends[0], ends[1], rtol=1e-4)


def _tensors(state: dict[str, Any]) -> dict[str, Any]:
    import torch

    return {name: torch.from_numpy(value.copy()) for name, value in state.items()}


def test_a_taught_rule_on_one_synapse_finds_least_squares() -> None:
    rng = np.random.default_rng(0)
    model = Perceptron({"hidden": np.eye(4, dtype="f4"), "output": np.zeros((2, 4), "f4")})
    inputs, weight = np.eye(4, dtype="f4"), rng.normal(size=(2, 4)).astype("f4")
    source = ArraySource(inputs=inputs, targets=inputs @ weight.T)
    rule = Local(Delta(), rate=1.0, synapses=["output"], teach="targets")
    assert rule.reads == ("inputs", "targets")
    fitted = fit(model, rule, source, steps=60, batch_size=4)
    np.testing.assert_allclose(fitted.model.weights["output"], weight, atol=1e-3)
    np.testing.assert_array_equal(fitted.model.weights["hidden"], np.eye(4))


def test_it_takes_a_registered_name(monkeypatch: pytest.MonkeyPatch) -> None:
    class Plugin:
        @hookimpl
        def bioviz_register(self, registry: Any) -> None:
            registry.rule("hebb", "toy_rules:Hebb", summary="Hebbian")

    monkeypatch.setitem(sys.modules, "toy_rules", module := type(sys)("toy_rules"))
    module.__dict__["Hebb"] = Hebb
    with isolated_registry() as registry:
        registry.register(Plugin(), name="toy")
        rule = Local("toy/hebb")
    assert isinstance(rule, LearningRule)
    assert isinstance(rule.rule, Hebb)


def test_a_synapse_that_is_not_there_is_refused() -> None:
    task = reference_task("numpy")
    with pytest.raises(IncompatibleError, match=r"no synapse \['cortex'\]; there are \['hidden'"):
        fit(task.model(), Local(Hebb(), synapses=["cortex"]), task.source, steps=1, batch_size=4)
