"""What a unit at the top looks at: the top-down signal at the image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from bioviz_core.interfaces import Result

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from torch import Tensor


def td_saliency(net: Any, inputs: Tensor, unit: int | Tensor | None = None) -> Tensor:
    """The top-down signal at the inputs, of their shape, in evaluation mode; a measure.

    The signal starts as 1 at output `unit`, or at one unit per sample, or at each sample's largest
    output where it is None. It runs through the network's own top-down weights; where they are
    shared, it is the derivative of that output by the inputs.
    """
    import torch
    from bioviz_core.bridge.torch import quiet

    with quiet(net):
        outputs, trace = net.bu(inputs)
        if outputs.dim() != 2:
            raise ValueError(f"saliency needs outputs (batch, units), got {tuple(outputs.shape)}")
        if unit is None:
            unit = outputs.argmax(1)
        units = torch.as_tensor(unit, device=outputs.device).expand(outputs.shape[0])
        if units.numel() and not 0 <= int(units.min()) <= int(units.max()) < outputs.shape[1]:
            raise ValueError(f"unit must be 0 to {outputs.shape[1] - 1}, got {unit}")
        signal = torch.zeros_like(outputs).scatter_(1, units[:, None], 1.0)
        found: Tensor = net.back_forward(signal, trace=trace, update=False, need_input=True)
        return found


class Saliency:
    """Maps of how strongly each pixel was looked at, from `inputs` and the `signals` at them.

    Both are `(samples, channels, height, width)`. A map is the absolute signal, summed over
    channels and divided by its largest value.
    """

    needs = ("inputs", "signals")

    def __call__(self, data: Mapping[str, np.ndarray], /) -> Result:
        """Arrays `maps (samples, height, width)`; scalars `concentration` and `on_figure`.

        `concentration` is the smallest share of pixels that holds half of the map, averaged over
        samples: 0.5 where it is flat. `on_figure` is the share of the map on pixels brighter than
        their image's mean. A sample without any signal counts in neither, and is noted.
        """
        images, signals = (np.asarray(data[key], float) for key in self.needs)
        if images.shape != signals.shape or images.ndim != 4:
            raise ValueError(
                f"inputs {images.shape} and signals {signals.shape} must be of one shape "
                "(samples, channels, height, width)"
            )
        maps = np.abs(signals).sum(1)
        peaks = maps.max((1, 2), initial=0.0)
        seen = peaks > 0
        notes = () if seen.all() else (f"{int((~seen).sum())} samples received no signal",)
        maps[seen] /= peaks[seen, None, None]
        pixels = maps.shape[1] * maps.shape[2]
        shares = maps[seen].reshape(int(seen.sum()), pixels)
        shares = shares / shares.sum(1, keepdims=True)
        half = (np.cumsum(np.sort(shares, 1)[:, ::-1], 1) < 0.5).sum(1) + 1
        light = images[seen].mean(1)
        figure = (light > light.mean((1, 2), keepdims=True)).reshape(len(shares), pixels)
        scalars = {
            "concentration": _mean(half / pixels),
            "on_figure": _mean((shares * figure).sum(1)),
        }

        def draw(ax: Axes) -> None:
            strip = np.concatenate([np.concatenate([i, m]) for i, m in zip(_gray(images), maps, strict=True)][:8], 1)  # noqa: E501  # fmt: skip
            ax.imshow(strip, cmap="gray", interpolation="none", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[], xlabel="image above, top-down signal below")

        return Result(scalars, {"maps": maps}, draw, notes)


def _gray(images: np.ndarray) -> np.ndarray:
    gray = images.mean(1)
    low, high = gray.min((1, 2), keepdims=True), gray.max((1, 2), keepdims=True)
    scaled: np.ndarray = (gray - low) / np.where(high > low, high - low, 1)
    return scaled


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if values.size else float("nan")
