"""Normalisation by the statistics of the batch, of a sample, or of groups of channels.

Bottom up all are `b = gain (z - mean) r + shift` with `r = 1 / sqrt(var + eps)`. Top down, with
`x = (z - mean) r` and `M` values that share a mean:

    signal = gain r / M (M t - sum t - x sum(t x)),  update of the gain sum(t x), of the shift sum t
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from bioviz_butd.ops.op import Locality, Op, Signals, Wanted

aten = torch.ops.aten
NormMode = Literal["exact", "frozen"]


class BatchNorm(Op):
    """Statistics of the batch in training, running ones in evaluation.

    `statistics="frozen"` treats the batch's mean and variance as constants on the way down. Each
    synapse is then local to its sample, and the update is not the gradient.
    """

    locality: Locality = "population"

    def __init__(
        self, module: Any = None, *, training: bool = False, momentum: float = 0.1,
        eps: float = 1e-5, statistics: NormMode = "exact",
    ) -> None:  # fmt: skip
        self.module, self.training, self.momentum, self.eps = module, training, momentum, eps
        self.statistics: NormMode = statistics
        if statistics == "frozen":
            self.locality = "synaptic"

    def bottom_up(
        self, z: Tensor, gain: Tensor | None, shift: Tensor | None, mean: Tensor | None,
        var: Tensor | None,
    ) -> tuple[Tensor, Any]:  # fmt: skip
        """Running statistics move once, as in torch."""
        training, momentum, eps = self.training, self.momentum, self.eps
        if self.module is not None:
            training, momentum = self.module.training, self._count()
            eps = self.module.eps
        training = training or mean is None
        if training and z.numel() == z.shape[1]:
            raise ValueError(
                f"Expected more than 1 value per channel when training, got input size {z.shape}"
            )
        moves = mean is not None and (self.module is None or self.module.track_running_stats)
        value, center, scale, reserve, kernel = torch._batch_norm_impl_index(
            z, gain, shift, mean if moves or not training else None,
            var if moves or not training else None, training, momentum, eps,
            torch.backends.cudnn.enabled,
        )  # fmt: skip
        return value, (z, gain, mean, var, center, scale, reserve, kernel, training, eps)

    def _count(self) -> float:
        """Count the pass; the momentum is that of torch, a running mean where it is None."""
        module = self.module
        momentum: float | None = module.momentum
        if module.training and module.track_running_stats:
            count: Tensor | None = module.num_batches_tracked
            if count is not None:
                count.add_(1)
                return 1.0 / float(count) if momentum is None else momentum
        return 0.0 if momentum is None else momentum

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """Signal to the input, updates of gain and shift."""
        z, gain, mean, var, center, scale, reserve, kernel, training, eps = kept
        if training and self.statistics == "frozen":
            return self._frozen(signal, z, gain, center, scale)
        down, dgain, dshift = aten._batch_norm_impl_index_backward.default(
            kernel, z, signal.contiguous() if kernel else signal, gain, mean, var, center, scale,
            training, eps, [wanted[0], wanted[1], wanted[2]], reserve,
        )  # fmt: skip
        return down, dgain, dshift, None, None

    def _frozen(
        self, t: Tensor, z: Tensor, gain: Tensor | None, center: Tensor, scale: Tensor
    ) -> Signals:
        shape = [1, -1] + [1] * (z.dim() - 2)
        axes = [0, *range(2, z.dim())]
        x = (z - center.view(shape)) * scale.view(shape)
        slope = scale if gain is None else scale * gain
        return t * slope.view(shape), (t * x).sum(axes), t.sum(axes), None, None


class LayerNorm(Op):
    """Statistics of the last dimensions of each sample."""

    locality = "lateral"

    def __init__(self, shape: Sequence[int], eps: float) -> None:
        self.shape, self.eps = list(shape), eps

    def bottom_up(self, z: Tensor, gain: Tensor | None, shift: Tensor | None) -> tuple[Tensor, Any]:
        """`z` is `(..., *shape)`."""
        z = _full_precision(z)
        value, mean, scale = torch.native_layer_norm(z, self.shape, gain, shift, self.eps)
        return value, (z, mean, scale, gain, shift)

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """Signal to the input, updates of gain and shift."""
        z, mean, scale, gain, shift = kept
        down: Signals = aten.native_layer_norm_backward.default(
            signal, z, self.shape, mean, scale, gain, shift, list(wanted)
        )
        return down


class GroupNorm(Op):
    """Statistics of groups of channels of each sample."""

    locality = "lateral"

    def __init__(self, groups: int, eps: float) -> None:
        self.groups, self.eps = groups, eps

    def bottom_up(self, z: Tensor, gain: Tensor | None, shift: Tensor | None) -> tuple[Tensor, Any]:
        """`z` is `(batch, channels, *space)`."""
        z = _full_precision(z)
        z = z if z.is_contiguous() or z.dim() in (4, 5) else z.contiguous()
        batch, channels, size = z.shape[0], z.shape[1], prod(z.shape[2:])
        value, mean, scale = torch.native_group_norm(
            z, gain, shift, batch, channels, size, self.groups, self.eps
        )
        return value, (z, mean, scale, gain, size)

    def top_down(self, kept: Any, signal: Tensor, wanted: Wanted) -> Signals:
        """Signal to the input, updates of gain and shift."""
        z, mean, scale, gain, size = kept
        down: Signals = aten.native_group_norm_backward.default(
            signal.contiguous(),
            z.contiguous(),
            mean,
            scale,
            gain,
            z.shape[0],
            z.shape[1],
            size,
            self.groups,
            list(wanted),
        )
        return down  # fmt: skip


def _full_precision(z: Tensor) -> Tensor:
    """Autocast on a GPU computes these norms in float32; the CPU kernels mix dtypes."""
    if z.device.type == "cuda" and torch.is_autocast_enabled("cuda"):
        return z.float()
    return z


def _affine(build: Any, module: Any) -> tuple[Any, Any]:
    return build.parameter(module, "weight"), build.parameter(module, "bias")


def _batch_module(build: Any, module: Any, x: Any) -> Any:
    op = BatchNorm(module, statistics=build.batch_norm)
    running = build.buffer(module, "running_mean"), build.buffer(module, "running_var")
    return build.add(op, x, *_affine(build, module), *running)


def _batch_function(
    build: Any, input: Any, running_mean: Any, running_var: Any, weight: Any = None,
    bias: Any = None, training: bool = False, momentum: float = 0.1, eps: float = 1e-5,
) -> Any:  # fmt: skip
    op = BatchNorm(
        training=training, momentum=momentum, eps=eps, statistics=build.batch_norm
    )  # fmt: skip
    return build.add(op, input, weight, bias, running_mean, running_var)


def _layer_module(build: Any, module: nn.LayerNorm, x: Any) -> Any:
    return build.add(LayerNorm(module.normalized_shape, module.eps), x, *_affine(build, module))


def _layer_function(
    build: Any, input: Any, normalized_shape: Any, weight: Any = None, bias: Any = None,
    eps: float = 1e-5,
) -> Any:  # fmt: skip
    return build.add(LayerNorm(normalized_shape, eps), input, weight, bias)


def _group_module(build: Any, module: nn.GroupNorm, x: Any) -> Any:
    return build.add(GroupNorm(module.num_groups, module.eps), x, *_affine(build, module))


def _group_function(
    build: Any, input: Any, num_groups: int, weight: Any = None, bias: Any = None,
    eps: float = 1e-5,
) -> Any:  # fmt: skip
    return build.add(GroupNorm(num_groups, eps), input, weight, bias)


RULES = {
    nn.BatchNorm1d: _batch_module,
    nn.BatchNorm2d: _batch_module,
    nn.BatchNorm3d: _batch_module,
    nn.LayerNorm: _layer_module,
    nn.GroupNorm: _group_module,
    F.batch_norm: _batch_function,
    F.layer_norm: _layer_function,
    F.group_norm: _group_function,
}
