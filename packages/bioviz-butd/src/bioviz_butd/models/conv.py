"""Convolutional networks: a small one for digits, and the paper's simple net."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from bioviz_core.errors import IncompatibleError
from bioviz_core.interfaces import Field, Refusal
from torch import nn

from bioviz_butd.conversion import convert
from bioviz_butd.models.initial import drawn_from
from bioviz_butd.network import Network
from bioviz_butd.objectives import objective_of
from bioviz_butd.top_down_weights import TDInit, TDWeights


def conv_net(
    *, shape: Sequence[int] = (1, 28, 28), channels: Sequence[int] = (16, 32), hidden: int = 64,
    classes: int = 10, norm: Literal["none", "batch", "group"] = "none",
    td_weights: TDWeights = "shared", td_init: TDInit = "independent", seed: int = 0,
    objective: str | None = "cross-entropy",
) -> Network:  # fmt: skip
    """For each of `channels` a 3x3 convolution, a norm, ReLU and 2x2 max pooling; then two Linear.

    `shape` is `(channels, height, width)` of one input, each side at least 2 to the number of
    stages.
    """
    planes, height, width = shape
    if min(height, width) >> len(channels) == 0:
        raise ValueError(f"{len(channels)} poolings leave nothing of a {height} x {width} image")
    with drawn_from(seed):
        layers: list[nn.Module] = []
        for after in channels:
            layers.append(nn.Conv2d(planes, after, 3, padding=1))
            if norm == "batch":
                layers.append(nn.BatchNorm2d(after))
            elif norm == "group":
                layers.append(nn.GroupNorm(min(4, after), after))
            layers += [nn.ReLU(), nn.MaxPool2d(2)]
            planes, height, width = after, height // 2, width // 2
        layers += [nn.Flatten(), nn.Linear(planes * height * width, hidden), nn.ReLU()]
        layers.append(nn.Linear(hidden, classes))
        module = nn.Sequential(*layers)
    return convert(
        module, td_weights=td_weights, td_init=td_init, seed=seed, objective=objective_of(objective)
    )


def simple_net(
    *, channels: int = 32, classes: int = 10, td_weights: TDWeights = "shared",
    td_init: TDInit = "independent", seed: int = 0, objective: str | None = "cross-entropy",
) -> Network:  # fmt: skip
    """The paper's network for 28 x 28 images, without its instruction head.

    Depthwise convolutions with a stride take the place of pooling.
    """
    with drawn_from(seed):
        module = nn.Sequential(
            nn.Conv2d(1, channels, 5), nn.ReLU(),
            nn.Conv2d(channels, channels, 2, stride=2, groups=channels), nn.ReLU(),
            nn.Conv2d(channels, channels, 5), nn.ReLU(),
            nn.Conv2d(channels, channels, 3, stride=2, groups=channels), nn.ReLU(),
            nn.Flatten(), nn.Linear(9 * channels, 50), nn.ReLU(),
            nn.Linear(50, classes),
        )  # fmt: skip
    return convert(
        module, td_weights=td_weights, td_init=td_init, seed=seed, objective=objective_of(objective)
    )


def conv_for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """What a task of images decides for `conv_net`; two poolings need sides of at least 4."""
    shape = fields["inputs"].shape
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise _refused(f"conv needs (channels, height, width) from 4 x 4, inputs are {shape}")
    return {"shape": shape, "classes": fields["labels"].classes}


def simple_for_task(fields: Mapping[str, Field]) -> dict[str, Any]:
    """What a task decides for `simple_net`, whose images are given."""
    if (shape := fields["inputs"].shape) != (1, 28, 28):
        raise _refused(f"simple is for images of (1, 28, 28), inputs are {shape}")
    return {"classes": fields["labels"].classes}


def _refused(why: str) -> IncompatibleError:
    return IncompatibleError([Refusal("data", "inputs", why)])
