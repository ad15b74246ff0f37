"""How well the top-down weights stand in for the bottom-up ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from bioviz_core.interfaces import Batch, Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, slots=True)
class Alignment:
    """One layer: angle (degrees) and norm ratio of its top-down to its bottom-up weight.

    `update_angle` is the angle (degrees) of its update to the gradient, None without a batch.
    """

    layer: str
    angle: float
    norm_ratio: float
    update_angle: float | None = None


def alignment_report(net: Any, batch: Batch | None = None) -> tuple[Alignment, ...]:
    """Alignment of each layer with weights, from the bottom up; a measure, it needs the network.

    With a batch the update that Counter-Hebb would make is compared with the gradient, by autograd
    through the same network in evaluation mode. Nothing of the network changes. A weight of zeros,
    or an update of zeros, has no angle: NaN.
    """
    report = [
        Alignment(name, angle(w, b), _ratio(b, w)) for name, (w, b) in net.weight_pairs().items()
    ]
    if batch is None:
        return tuple(report)
    angles = update_angles(net, batch)
    return tuple(replace(row, update_angle=angles.get(row.layer)) for row in report)


def update_angles(net: Any, batch: Batch) -> dict[str, float]:
    """Angle (degrees) between each weight's Counter-Hebb update and its gradient."""
    import torch
    from bioviz_core.bridge.torch import quiet

    from bioviz_butd.objectives import output_error

    names = list(net.weight_pairs())
    with quiet(net):
        outputs, trace = net.bu(batch["inputs"])
        _, error = output_error(net.objective, outputs, batch)
        _, updates = net.top_down(error, trace=trace)
        with torch.enable_grad():
            loss = net.objective.loss(net(batch["inputs"], autograd=True), batch)
            weights = [w for w, _ in net.weight_pairs().values()]
            trained = [w for w in weights if w.requires_grad]
            found = torch.autograd.grad(loss, trained) if trained else ()
    gradients = {id(w): g for w, g in zip(trained, found, strict=True)}
    return {
        name: angle(gradients[id(w)], updates[name])
        for name, w in zip(names, weights, strict=True)
        if name in updates
    }


def angle(first: Any, second: Any) -> float:
    """The angle in degrees between two arrays of one shape, in [0, 180]; NaN where one is zero.

    By `2 atan2(|u - v|, |u + v|)` of the unit vectors, which stays exact near 0 and 180 degrees,
    where the arc cosine loses half its digits.
    """
    u, v = (_flat(x) for x in (first, second))
    if u.shape != v.shape:
        raise ValueError(f"the arrays have {u.size} and {v.size} entries; an angle needs as many")
    lengths = np.linalg.norm(u), np.linalg.norm(v)
    if 0 in lengths:
        return float("nan")
    u, v = u / lengths[0], v / lengths[1]
    return float(np.degrees(2 * np.arctan2(np.linalg.norm(u - v), np.linalg.norm(u + v))))


class WeightAlignment:
    """Angle and norm ratio of `weight` and `td_weight`, two arrays of one shape."""

    needs = ("weight", "td_weight")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Scalars `angle` (degrees) and `norm_ratio`; draws one weight against the other."""
        weight, td_weight = (np.asarray(data[key], float) for key in self.needs)
        found = angle(weight, td_weight)
        notes = () if np.isfinite(found) else ("a weight is zero, so there is no angle",)
        # Every k-th entry: two thousand dots show the cloud as well as a million.
        step = max(1, weight.size // 2000)
        shown = weight.ravel()[::step], td_weight.ravel()[::step]

        def draw(ax: Axes) -> None:
            ax.axline((0, 0), slope=1, color="#57606B", linewidth=0.8, dashes=(4, 2))
            ax.plot(*shown, ".", color="#008469", markersize=2, rasterized=True)
            ax.set(xlabel="bottom-up weight", ylabel="top-down weight")

        scalars = {"angle": found, "norm_ratio": _ratio(td_weight, weight)}
        return Result(scalars, {"weight": shown[0], "td_weight": shown[1]}, draw, notes)


def _ratio(of: Any, to: Any) -> float:
    below = float(np.linalg.norm(_flat(to)))
    return float(np.linalg.norm(_flat(of))) / below if below else float("nan")


def _flat(x: Any) -> np.ndarray:
    if hasattr(x, "detach"):
        x = x.detach().cpu().double().numpy()
    return np.asarray(x, dtype=float).ravel()
