"""The life of fast weights: written, decaying, reset to the bit, folded into the slow ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from bioviz_core.errors import DivergedError
from torch import Tensor, nn

from bioviz_fastweights.errors import MergedStateError

if TYPE_CHECKING:
    from peft.tuners.lora import LoraLayer


@dataclass(frozen=True, slots=True)
class WriteReport:
    """The loss before each step of a write, and after the last."""

    losses: tuple[float, ...]

    @property
    def loss_first(self) -> float:
        """Before anything was written."""
        return self.losses[0]

    @property
    def loss_last(self) -> float:
        """After the last step."""
        return self.losses[-1]


class FastWeights:
    """The fast weights of a model; `attach_fast_weights` makes them.

    `layers` are the adapted layers by name. Their `delta` is `scaling * B A`, `(out, in)` as the
    slow weight beside it.
    """

    def __init__(
        self,
        model: nn.Module,
        layers: Mapping[str, LoraLayer],
        projections: Sequence[str],
        *,
        seed: int,
        trainable: Mapping[str, bool],
    ) -> None:
        self.model: Any = model
        self.layers: dict[str, Any] = dict(layers)
        self.projections, self.seed = tuple(projections), seed
        self.trainable = dict(trainable)
        self._merged = False

    def parameters(self) -> list[nn.Parameter]:
        """The `A` and `B` of every layer, in order."""
        return [p for a, b, _ in self._adapters() for p in (a.weight, b.weight)]

    @torch.no_grad()
    def delta(self) -> dict[str, Tensor]:
        """What the fast weights add to each slow weight."""
        return {
            name: scaling * (b.weight * b.mask) @ a.weight
            for name, (a, b, scaling) in zip(self.layers, self._adapters(), strict=True)
        }

    def norms(self) -> dict[str, dict[str, float]]:
        """Frobenius and spectral norm of each projection's delta, over those of the slow one."""
        found = {}
        for name, delta in self.delta().items():
            slow = self.layers[name].get_base_layer().weight.detach().to(delta)
            thirds = zip("qkv", delta.chunk(3), slow.chunk(3), strict=True)
            for projection, fast, base in thirds:
                if projection in self.projections:
                    found[f"{name}.{projection}"] = {
                        "frobenius": float(fast.norm() / base.norm()),
                        "spectral": float(
                            torch.linalg.matrix_norm(fast, 2) / torch.linalg.matrix_norm(base, 2)
                        ),
                    }
        return found

    def write(
        self,
        images: Tensor,
        *,
        steps: int = 1,
        lr: float = 1e-3,
        weight_decay: float = 0.01,
    ) -> WriteReport:
        """A few steps of `GradientWrite` with AdamW on these images.

        If a loss is not finite the fast weights are as before the call, and `DivergedError` tells
        the step. For a long exposure with checkpoints use the rule through `fit`.
        """
        # The one arrow upwards: a convenience on the object that a user holds.
        from bioviz_fastweights.rules.gradient_write import GradientWrite

        self.refuse_merged("write")
        if steps < 1:
            raise ValueError(f"steps must be at least 1, got {steps}")
        before = [parameter.detach().clone() for parameter in self.parameters()]
        rule = GradientWrite(lr=lr, weight_decay=weight_decay)
        batch: Any = {"inputs": images, "targets": images}
        state = rule.init(self.model, batch, seed=0)
        losses = []
        for _ in range(steps):
            losses.append(float(rule.step(self.model, batch, state, seed=0).metrics["loss"]))
        with torch.no_grad():
            losses.append(float(self.model.objective.loss(self.model(images), batch)))
        wrong = next((i for i, loss in enumerate(losses) if not math.isfinite(loss)), None)
        if wrong is not None:
            with torch.no_grad():
                for parameter, kept in zip(self.parameters(), before, strict=True):
                    parameter.copy_(kept)
            raise DivergedError(wrong, "loss", losses[wrong])
        return WriteReport(tuple(losses))

    @torch.no_grad()
    def decay(self, factor: float) -> None:
        """Multiply every delta by `factor`; it is linear in `B`."""
        self.refuse_merged("decay")
        if not math.isfinite(factor):
            raise ValueError(f"factor must be finite, got {factor}")
        for _, b, _ in self._adapters():
            b.weight.mul_(factor)

    def decay_over(self, elapsed: float, tau: float) -> None:
        """Decay by `exp(-elapsed / tau)`."""
        if not tau > 0 or not elapsed >= 0:
            raise ValueError(f"tau must be positive and elapsed at least 0, got {tau}, {elapsed}")
        self.decay(math.exp(-elapsed / tau))

    @torch.no_grad()
    def reset(self) -> None:
        """As after attaching: the deltas exactly zero, the `A` drawn again from the seed."""
        self.refuse_merged("reset")
        # On the processor, so that the draw is the same on every device.
        generator = torch.Generator().manual_seed(self.seed)
        for a, b, _ in self._adapters():
            # Uniform as Kaiming's with a = sqrt(5), which LoRA uses: the bound is 1 / sqrt(in).
            bound = a.weight.shape[1] ** -0.5
            draw = torch.empty(a.weight.shape).uniform_(-bound, bound, generator=generator)
            a.weight.copy_(draw)
            b.weight.zero_()

    @torch.no_grad()
    def consolidate(self, rate: float = 1.0) -> None:
        """Move a share of the delta into the slow weights; the model answers as before."""
        self.refuse_merged("consolidate")
        if not 0 <= rate <= 1:
            raise ValueError(f"rate must be a share, got {rate}")
        for name, delta in self.delta().items():
            slow = self.layers[name].get_base_layer().weight
            slow.copy_(slow + (rate * delta).to(slow))
        self.decay(1 - rate)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The slow model alone, exactly."""
        flags = [parameter.requires_grad for parameter in self.parameters()]
        for layer in self.layers.values():
            layer.enable_adapters(False)
        try:
            yield
        finally:
            for layer in self.layers.values():
                layer.enable_adapters(True)
            # peft freezes and thaws as it switches; who trains is not its business here.
            for parameter, flag in zip(self.parameters(), flags, strict=True):
                parameter.requires_grad_(flag)

    @contextmanager
    def merged(self) -> Iterator[None]:
        """The deltas folded into the slow weights for fast inference; undone to the bit.

        A merged copy is swapped in and out: subtracting the delta again would leave rounding.
        """
        self.refuse_merged("merged")
        kept: dict[str, Tensor] = {}
        with self.disabled():
            try:
                for name, delta in self.delta().items():
                    slow = self.layers[name].get_base_layer().weight
                    kept[name] = slow.data
                    slow.data = (slow.data + delta).to(slow.dtype)
                self._merged = True
                yield
            finally:
                for name, weight in kept.items():
                    self.layers[name].get_base_layer().weight.data = weight
                self._merged = False

    def refuse_merged(self, call: str) -> None:
        """`MergedStateError` where the fast weights are folded into the slow ones."""
        if self._merged:
            raise MergedStateError(call)

    def _adapters(self) -> list[tuple[Any, Any, float]]:
        """`A`, `B` and the scaling of each layer."""
        return [
            (layer.lora_A[key], layer.lora_B[key], layer.scaling[key])
            for layer in self.layers.values()
            for key in layer.lora_A
        ]
