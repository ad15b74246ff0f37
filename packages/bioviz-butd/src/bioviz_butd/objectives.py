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
    terms = _CrossEntropy(weight, ignore_index, label_smoothing, reduction)
    return ClosedForm("cross-entropy", terms.loss, ("labels",), terms.errors)


def binary_cross_entropy_with(
    *, pos_weight: Tensor | None = None, reduction: Reduction = "mean"
) -> ClosedForm:
    """Binary cross-entropy of logits with `targets` of the outputs' shape, in [0, 1]."""
    terms = _BinaryCrossEntropy(pos_weight, reduction)
    return ClosedForm("binary-cross-entropy", terms.loss, ("targets",), terms.errors)


def mean_squared_error_with(*, reduction: Reduction = "mean") -> ClosedForm:
    """Squared difference of `outputs` and `targets` of the same shape."""
    terms = _MeanSquaredError(reduction)
    return ClosedForm("mean-squared-error", terms.loss, ("targets",), terms.errors)


@dataclass(frozen=True, slots=True)
class _CrossEntropy:
    weight: Tensor | None
    ignore_index: int
    label_smoothing: float
    reduction: Reduction

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return F.cross_entropy(
            outputs, batch["labels"], _on(self.weight, outputs), ignore_index=self.ignore_index,
            label_smoothing=self.label_smoothing, reduction=self.reduction,
        )  # fmt: skip

    def errors(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        labels, gains = batch["labels"], _on(self.weight, outputs)
        log_p = torch.log_softmax(outputs, 1)
        if labels.is_floating_point():
            toward = self._soft(labels, log_p, gains)
        elif self.label_smoothing:
            toward = self._smoothed(labels, log_p, gains)
        else:
            return self._hard(labels, log_p, gains)
        # The loss is linear in log p; the softmax kernel gives dL/dy = toward - p sum(toward).
        error = aten._log_softmax_backward_data.default(toward, log_p, 1, log_p.dtype)
        return (toward * log_p).sum(), error

    def _hard(self, labels: Tensor, log_p: Tensor, gains: Tensor | None) -> tuple[Tensor, Tensor]:
        """By the kernels that autograd uses, and so with its bits."""
        kind = 1 if self.reduction == "mean" else 2
        flat, shape = log_p.dim() == 2, log_p.shape
        forward = aten.nll_loss_forward if flat else aten.nll_loss2d_forward
        down = aten.nll_loss_backward if flat else aten.nll_loss2d_backward
        if not flat and log_p.dim() != 4:  # torch folds other numbers of dimensions to four
            log_p = log_p.reshape(shape[0], shape[1], 1, -1)
            labels = labels.reshape(shape[0], 1, -1)
        loss, total = forward.default(log_p, labels, gains, kind, self.ignore_index)
        one = torch.ones((), dtype=log_p.dtype, device=log_p.device)
        toward = down.default(one, log_p, labels, gains, kind, self.ignore_index, total)
        error = aten._log_softmax_backward_data.default(toward, log_p, 1, log_p.dtype)
        return loss, error.reshape(shape)

    def _smoothed(self, labels: Tensor, log_p: Tensor, gains: Tensor | None) -> Tensor:
        """dL/dlog p: `-(1 - s) w_y` at the label, `-s/C w_c` everywhere, zero where ignored."""
        classes, smoothing = log_p.shape[1], self.label_smoothing
        counts = (labels != self.ignore_index).unsqueeze(1)
        safe = labels.where(labels != self.ignore_index, 0).unsqueeze(1)
        if gains is None:
            gains = torch.ones(classes, dtype=log_p.dtype, device=log_p.device)
        own = gains[safe] * counts
        toward = -(_by_class(gains, log_p) * (smoothing / classes) * counts).expand_as(log_p)
        toward = toward.contiguous().scatter_add_(1, safe, -(1 - smoothing) * own)
        return toward / own.sum() if self.reduction == "mean" else toward

    def _soft(self, targets: Tensor, log_p: Tensor, gains: Tensor | None) -> Tensor:
        """dL/dlog p with probabilities as labels; the mean is over places, not classes."""
        classes, smoothing = log_p.shape[1], self.label_smoothing
        targets = targets.to(log_p.dtype) * (1 - smoothing) + smoothing / classes
        if gains is not None:
            targets = targets * _by_class(gains, log_p)
        return -targets / (log_p.numel() // classes) if self.reduction == "mean" else -targets


@dataclass(frozen=True, slots=True)
class _BinaryCrossEntropy:
    pos_weight: Tensor | None
    reduction: Reduction

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return F.binary_cross_entropy_with_logits(
            outputs, batch["targets"], pos_weight=_on(self.pos_weight, outputs),
            reduction=self.reduction,
        )  # fmt: skip

    def errors(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        y, p = batch["targets"].to(outputs.dtype), torch.sigmoid(outputs)
        if self.pos_weight is None:
            error = p - y
        else:
            gain = self.pos_weight.to(outputs) * y
            error = (1 - y + gain) * p - gain
        loss = self.loss(outputs, batch)
        return loss, error / outputs.numel() if self.reduction == "mean" else error


@dataclass(frozen=True, slots=True)
class _MeanSquaredError:
    reduction: Reduction

    def loss(self, outputs: Tensor, batch: Batch) -> Tensor:
        return F.mse_loss(outputs, batch["targets"], reduction=self.reduction)

    def errors(self, outputs: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
        one = torch.ones((), dtype=outputs.dtype, device=outputs.device)
        kind = 1 if self.reduction == "mean" else 2
        target = batch["targets"].to(outputs.dtype)
        error = aten.mse_loss_backward.default(one, outputs, target, kind)
        return self.loss(outputs, batch), error


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


def _by_class(gains: Tensor, like: Tensor) -> Tensor:
    return gains.view(-1, *[1] * (like.dim() - 2))


def _on(constant: Tensor | None, like: Tensor) -> Tensor | None:
    return None if constant is None else constant.to(like.device, like.dtype)


def _as_the_loss_sees(outputs: Tensor) -> Tensor:
    """Under autocast losses are computed in float32."""
    return outputs.float() if torch.is_autocast_enabled(outputs.device.type) else outputs
