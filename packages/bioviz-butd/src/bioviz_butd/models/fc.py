"""Fully connected networks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from bioviz_core.interfaces import Field
from torch import nn

from bioviz_butd.conversion import convert
from bioviz_butd.models.initial import drawn_from
from bioviz_butd.network import Network
from bioviz_butd.objectives import objective_of
from bioviz_butd.top_down_weights import TDInit, TDWeights


def fc_net(
    *, shape: Sequence[int] = (1, 28, 28), hidden: Sequence[int] = (500,), classes: int = 10,
    td_weights: TDWeights = "shared", td_init: TDInit = "independent", seed: int = 0,
    objective: str | None = "cross-entropy",
) -> Network:  # fmt: skip
    """Flatten, then Linear and ReLU for each of `hidden`, then Linear: the paper's `fc`.

    `shape` is that of one input. Weights are torch's initial ones drawn from `seed`; the global
    generator is left alone.
    """
    widths = [math.prod(shape), *hidden]
    with drawn_from(seed):
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        layers.append(nn.Linear(widths[-1], classes))
        module = nn.Sequential(*layers)
    return convert(
        module, td_weights=td_weights, td_init=td_init, seed=seed, objective=objective_of(objective)
    )


def fc_for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """What a task decides: the shape of an input and the number of classes."""
    return {"shape": fields["inputs"].shape, "classes": fields["labels"].classes}
