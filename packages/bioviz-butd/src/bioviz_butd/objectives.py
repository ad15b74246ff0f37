"""The error at the top: the derivative of the loss by the output, in closed form where known.

A top-down pass starts from `e = dL/dy`. It contains the loss's reduction, so updates are sums over
the batch and agree with autograd for every reduction, class weight and partial batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F
from bioviz_core.interfaces import Batch, Objective
from torch import Tensor

aten = torch.ops.aten
Reduction = Literal["mean", "sum"]
Errors = Callable[[Tensor, Batch], tuple[Tensor, Tensor]]


@dataclass(frozen=True, slots=True)
class ClosedForm(Objective):
    """An objective that knows its derivative: `errors(outputs, batch)` is `(loss, dloss/doutputs)`.

    With it a whole step is free of autograd.
    """

    errors: Errors | None = None


def output_error(objective: Objective, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """`(loss, e)` with `e = dloss/doutputs`, of the outputs' shape and dtype.

    In closed form where the objective has one; else by differentiating the loss alone, with respect
    to a detached copy of the outputs.
    """
    outputs = outputs.detach().as_subclass(Tensor)
    if isinstance(objective, ClosedForm) and objective.errors is not None:
        with torch.no_grad():
            loss, error = objective.errors(_as_the_loss_sees(outputs), batch)
    else:
        with torch.enable_grad():
            copy = outputs.clone().requires_grad_()
            loss = objective.loss(copy, batch)
        (error,) = torch.autograd.grad(loss, copy)
    return loss.detach(), error.to(outputs.dtype)


def cross_entropy_with(
    *, weight: Tensor | None = None, ignore_index: int = -100, label_smoothing: float = 0.0,
    reduction: Reduction = "mean",
) -> ClosedForm:  # fmt: skip
    """Cross-entropy of `outputs (batch, classes, ...)` with integer `labels`.

    Labels of the outputs' own shape are probabilities. Options as in `F.cross_entropy`.
    """

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(
            outputs, batch["labels"], _on(weight, outputs), ignore_index=ignore_index,
            label_smoothing=label_smoothing, reduction=reduction,
        )  # fmt: skip

    def errors(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        labels, scale = batch["labels"], _on(weight, outputs)
        log_p = torch.log_softmax(outputs, 1)
        if labels.is_floating_point():
            toward = _soft(labels, log_p, scale, label_smoothing, reduction)
        elif label_smoothing:
            toward = _smoothed(labels, log_p, scale, label_smoothing, reduction, ignore_index)
        else:
            return _hard(labels, log_p, scale, reduction, ignore_index)
        # L = sum(toward * log p), so dL/dy = toward - p sum(toward): the softmax kernel's own sum
        error = aten._log_softmax_backward_data.default(toward, log_p, 1, log_p.dtype)
        return _dot(toward, log_p), error

    return ClosedForm("cross-entropy", loss, ("labels",), errors)


def binary_cross_entropy_with(
    *, pos_weight: Tensor | None = None, reduction: Reduction = "mean"
) -> ClosedForm:
    """Binary cross-entropy of logits with `targets` of the outputs' shape, in [0, 1]."""

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            outputs, batch["targets"], pos_weight=_on(pos_weight, outputs), reduction=reduction
        )

    def errors(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        y, p = batch["targets"].to(outputs.dtype), torch.sigmoid(outputs)
        if pos_weight is None:
            error = p - y
        else:
            gain = _on(pos_weight, outputs) * y
            error = (1 - y + gain) * p - gain
        return loss(outputs, batch), error / outputs.numel() if reduction == "mean" else error

    return ClosedForm("binary-cross-entropy", loss, ("targets",), errors)


def mean_squared_error_with(*, reduction: Reduction = "mean") -> ClosedForm:
    """Squared difference of `outputs` and `targets` of the same shape."""

    def loss(outputs: Tensor, batch: Batch) -> Tensor:
        return F.mse_loss(outputs, batch["targets"], reduction=reduction)

    def errors(outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        one = torch.ones((), dtype=outputs.dtype, device=outputs.device)
        kind = 1 if reduction == "mean" else 2
        target = batch["targets"].to(outputs.dtype)
        return loss(outputs, batch), aten.mse_loss_backward.default(one, outputs, target, kind)

    return ClosedForm("mean-squared-error", loss, ("targets",), errors)


cross_entropy = cross_entropy_with()
binary_cross_entropy = binary_cross_entropy_with()
mean_squared_error = mean_squared_error_with()

OBJECTIVES = {o.name: o for o in (cross_entropy, binary_cross_entropy, mean_squared_error)}


def objective_of(objective: str | Objective | None) -> Objective | None:
    """An objective by its name, so that a model can be built again from plain options."""
    if not isinstance(objective, str):
        return objective
    if objective not in OBJECTIVES:
        raise ValueError(f"objective is {objective!r}; it must be one of {', '.join(OBJECTIVES)}")
    return OBJECTIVES[objective]


def _hard(
    labels: Tensor, log_p: Tensor, scale: Tensor | None, reduction: Reduction, ignore_index: int
) -> tuple[Tensor, Tensor]:
    kind = 1 if reduction == "mean" else 2
    flat = log_p.dim() == 2
    forward = aten.nll_loss_forward if flat else aten.nll_loss2d_forward
    down = aten.nll_loss_backward if flat else aten.nll_loss2d_backward
    shape = log_p.shape
    if log_p.dim() > 4 or log_p.dim() == 3:  # torch folds other numbers of dimensions to four
        log_p = log_p.reshape(shape[0], shape[1], 1, -1)
        labels = labels.reshape(shape[0], 1, -1)
    loss, total = forward.default(log_p, labels, scale, kind, ignore_index)
    one = torch.ones((), dtype=log_p.dtype, device=log_p.device)
    toward = down.default(one, log_p, labels, scale, kind, ignore_index, total)
    error = aten._log_softmax_backward_data.default(toward, log_p, 1, log_p.dtype)
    return loss, error.reshape(shape)


def _smoothed(
    labels: Tensor, log_p: Tensor, scale: Tensor | None, smoothing: float, reduction: Reduction,
    ignore_index: int,
) -> Tensor:  # fmt: skip
    """dL/dlog p: `-(1 - s) w_y` at the label and `-s/C w_c` everywhere, zero where ignored."""
    classes = log_p.shape[1]
    counts = (labels != ignore_index).unsqueeze(1)
    safe = labels.where(labels != ignore_index, 0).unsqueeze(1)
    gains = torch.ones(classes, dtype=log_p.dtype, device=log_p.device) if scale is None else scale
    own = gains[safe] * counts
    spread = gains.view(-1, *[1] * (log_p.dim() - 2)) * (smoothing / classes) * counts
    toward = -spread.expand_as(log_p).contiguous()
    toward.scatter_add_(1, safe, -(1 - smoothing) * own)
    return toward / own.sum() if reduction == "mean" else toward


def _soft(
    targets: Tensor, log_p: Tensor, scale: Tensor | None, smoothing: float, reduction: Reduction
) -> Tensor:
    """dL/dlog p with probabilities as labels; the mean is over places, not classes."""
    targets = targets.to(log_p.dtype) * (1 - smoothing) + smoothing / log_p.shape[1]
    if scale is not None:
        targets = targets * scale.view(-1, *[1] * (log_p.dim() - 2))
    return -targets / (log_p.numel() // log_p.shape[1]) if reduction == "mean" else -targets


def _dot(toward: Tensor, log_p: Tensor) -> Tensor:
    return (toward * log_p).sum()


def _on(constant: Tensor | None, like: Tensor) -> Tensor | None:
    return None if constant is None else constant.to(like.device, like.dtype)


def _as_the_loss_sees(outputs: Tensor) -> Tensor:
    """Under autocast losses are computed in float32."""
    return outputs.float() if torch.is_autocast_enabled(outputs.device.type) else outputs
