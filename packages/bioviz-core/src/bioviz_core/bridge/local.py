"""A local rule as a learning rule: what one synapse does, done by all synapses of a model.

rule = Local("oja/oja", rate=0.05)
fit(model, rule, source, steps=100, batch_size=32)

It imports no framework: a local rule is array-API code, and the model brings its own arrays.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Batch, Framework, LocalRule, Refusal, Step, Synaptic
from bioviz_core.registry import registry


class Local:
    """Any local rule as a `LearningRule` for any `Synaptic` model: `W += rate * delta`.

    `rule` is a local rule or its registered name; `synapses` names those that change, by default
    all. `teach` is the batch key that the rule gets as its teaching signal, `(batch, out)`. The
    metric `change` is the root mean square change of a weight.
    """

    framework: Framework | None = None
    needs: tuple[type, ...] = (Synaptic,)
    sharded = False

    def __init__(
        self,
        rule: LocalRule | str,
        *,
        rate: float = 0.01,
        synapses: Sequence[str] | None = None,
        teach: str | None = None,
    ) -> None:
        self.rule: LocalRule = registry().create(rule) if isinstance(rule, str) else rule
        self.rate, self.synapses, self.teach = rate, synapses, teach
        self.reads: tuple[str, ...] = ("inputs", teach) if teach else ("inputs",)

    def init(self, model: Any, batch: Batch, /, *, seed: int) -> dict[str, Any]:
        """No state; `IncompatibleError` where the model lacks a synapse that is to change."""
        del seed
        there = model.synapses(batch["inputs"])
        if absent := [name for name in self.synapses or () if name not in there]:
            why = f"{type(model).__name__} has no synapse {absent}; there are {list(there)}"
            raise IncompatibleError([Refusal("model", "synapses", why)])
        return {}

    def step(
        self, model: Any, batch: Batch, state: dict[str, Any], /, *, seed: int
    ) -> Step[Any, dict[str, Any]]:
        """Ask the rule at each synapse and add what it says."""
        del seed
        found = model.synapses(batch["inputs"])
        teach = None if self.teach is None else batch[self.teach]  # type: ignore[literal-required]  # any key
        deltas = {}
        for name in self.synapses or found:
            pre, post, weight = found[name]
            deltas[name] = self.rate * self.rule.delta(pre, post, weight, teach)
        squares = [(delta * delta).mean() for delta in deltas.values()]
        change = (sum(squares) / max(len(squares), 1)) ** 0.5
        return Step(model.nudge(deltas), state, {"change": change})
