"""The life of fast weights: written, decaying, reset to the bit, folded into the slow ones.

There may be several contexts, each with weights of its own; one is in use, or a mixture of some.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from bioviz_core.errors import DivergedError
from torch import Tensor, nn

from bioviz_fastweights.adapters import ADAPTER, FastWeightConfig, inject
from bioviz_fastweights.errors import ContextError, MergedStateError, UnknownContextError

if TYPE_CHECKING:
    import numpy as np
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
        config: FastWeightConfig,
        *,
        seed: int,
        trainable: Mapping[str, bool],
    ) -> None:
        self.model: Any = model
        self.layers: dict[str, Any] = dict(layers)
        self.config = config
        self.trainable = dict(trainable)
        self._seeds, self._shares = {ADAPTER: seed}, {ADAPTER: 1.0}
        self._merged = False

    # Contexts

    @property
    def contexts(self) -> tuple[str, ...]:
        """The names of the contexts; the first is called `default`."""
        return tuple(self._seeds)

    @property
    def active(self) -> str:
        """The context in use; `ContextError` where it is a mixture, which nothing can change."""
        if len(self._shares) != 1:
            raise ContextError(f"a mixture of {[*self._shares]} is in use: `use` one of them first")
        return next(iter(self._shares))

    def add_context(self, name: str, *, seed: int | None = None) -> None:
        """One more context, empty; the one in use stays. `seed` draws its `A`, own by default."""
        self.refuse_merged("add_context")
        if name in self._seeds or not re.fullmatch(r"[A-Za-z0-9_-]+", name):
            raise ContextError(
                f"a context needs a new name of letters, digits, _ and -, got {name!r} beside "
                f"{', '.join(self.contexts)}"
            )
        with self._same_flags([*self.model.parameters()]):
            inject(self.model, [*self.layers], self.config, name)
        self._seeds[name] = self._seeds[ADAPTER] + len(self._seeds) if seed is None else seed
        pairs = zip(self._parameters_of([name]), self._parameters_of([ADAPTER]), strict=True)
        for mine, first in pairs:
            mine.requires_grad_(first.requires_grad)
        self.reset(name)
        self._activate(self._shares)

    def use(self, name: str) -> None:
        """Put one context in use; the others keep what was written to them."""
        self.mix({name: 1.0})

    def mix(self, shares: Mapping[str, float]) -> None:
        """Put a weighted sum of the contexts' deltas in use, which can be read but not written."""
        self.refuse_merged("mix")
        for name in shares:
            self._check(name)
        if not shares or not all(map(math.isfinite, shares.values())):
            raise ContextError(f"shares must be finite, of one context at least, got {shares}")
        self._activate(shares)

    def remove(self, name: str) -> None:
        """Forget a context that is not in use."""
        self.refuse_merged("remove")
        self._check(name)
        if name in self._shares or name == ADAPTER:
            raise ContextError(f"{name!r} is in use, or the first: `use` another, or `reset` it")
        for layer in self.layers.values():
            layer.delete_adapter(name)
        del self.model.peft_config[name], self._seeds[name]

    # What was written

    def parameters(self) -> list[nn.Parameter]:
        """The `A` and `B` of every layer in the context in use, in order."""
        return self._parameters_of([self.active])

    @torch.no_grad()
    def delta(self, context: str | None = None) -> dict[str, Tensor]:
        """What the fast weights in use, or those of one context, add to each slow weight."""
        shares = self._shares if context is None else {context: 1.0}
        terms = [
            [share * scaling * (b.weight * b.mask) @ a.weight for a, b, scaling in adapters]
            for share, adapters in ((s, self.adapters(name)) for name, s in shares.items())
        ]
        sums = (torch.stack(column).sum(0) for column in zip(*terms, strict=True))
        return dict(zip(self.layers, sums, strict=True))

    def norms(self) -> dict[str, dict[str, float]]:
        """Frobenius and spectral norm of each projection's delta, over those of the slow one."""
        found = {}
        for name, delta in self.delta().items():
            slow = self.layers[name].get_base_layer().weight.detach().to(delta)
            thirds = zip("qkv", delta.chunk(3), slow.chunk(3), strict=True)
            for projection, fast, base in thirds:
                if projection in self.config.projections:
                    found[f"{name}.{projection}"] = {
                        "frobenius": float(fast.norm() / base.norm()),
                        "spectral": float(
                            torch.linalg.matrix_norm(fast, 2) / torch.linalg.matrix_norm(base, 2)
                        ),
                    }
        return found

    def write(
        self,
        images: Tensor | np.ndarray,
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
        images = torch.as_tensor(images).to(before[0])
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
        for _, b, _ in self.adapters(self.active):
            b.weight.mul_(factor)

    def decay_over(self, elapsed: float, tau: float) -> None:
        """Decay by `exp(-elapsed / tau)`."""
        if not tau > 0 or not elapsed >= 0:
            raise ValueError(f"tau must be positive and elapsed at least 0, got {tau}, {elapsed}")
        self.decay(math.exp(-elapsed / tau))

    @torch.no_grad()
    def reset(self, context: str | None = None) -> None:
        """As after attaching: the deltas exactly zero, the `A` drawn again from the seed."""
        self.refuse_merged("reset")
        name = self.active if context is None else self._check(context)
        # On the processor, so that the draw is the same on every device.
        generator = torch.Generator().manual_seed(self._seeds[name])
        for a, b, _ in self.adapters(name):
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
        for name, delta in self.delta(self.active).items():
            slow = self.layers[name].get_base_layer().weight
            slow.copy_(slow + (rate * delta).to(slow))
        self.decay(1 - rate)

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """The slow model alone, exactly."""
        with self._same_flags():
            for layer in self.layers.values():
                layer.enable_adapters(False)
        try:
            yield
        finally:
            with self._same_flags():
                for layer in self.layers.values():
                    layer.enable_adapters(True)

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

    def adapters(self, context: str) -> list[tuple[Any, Any, float]]:
        """`A`, `B` and the scaling of each layer in a context."""
        self._check(context)
        return [
            (layer.lora_A[context], layer.lora_B[context], self.config.scaling)
            for layer in self.layers.values()
        ]

    def _parameters_of(self, contexts: Iterable[str]) -> list[nn.Parameter]:
        every = (adapter for name in contexts for adapter in self.adapters(name))
        return [p for a, b, _ in every for p in (a.weight, b.weight)]

    def _activate(self, shares: Mapping[str, float]) -> None:
        self._shares = dict(shares)
        with self._same_flags():
            for layer in self.layers.values():
                layer.set_adapter([*shares])
                for name in self.contexts:
                    layer.scaling[name] = self.config.scaling * shares.get(name, 1.0)

    @contextmanager
    def _same_flags(self, parameters: Sequence[nn.Parameter] = ()) -> Iterator[None]:
        """peft freezes and thaws as it switches; who trains is not its business here."""
        parameters = parameters or self._parameters_of(self.contexts)
        flags = [parameter.requires_grad for parameter in parameters]
        yield
        for parameter, flag in zip(parameters, flags, strict=True):
            parameter.requires_grad_(flag)

    def _check(self, name: str) -> str:
        if name not in self._seeds:
            raise UnknownContextError(name, self.contexts)
        return name
