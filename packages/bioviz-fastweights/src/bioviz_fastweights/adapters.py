"""The adapters themselves: one peft layer per fused projection, block-diagonal, one per context.

    W_eff = W_slow + (alpha / r) B A

A fused layer with an ordinary LoRA shares one `A` between q, k and v. Here each projection has its
own adapter of rank r: one peft layer of rank 3 r whose `B` is block-diagonal, kept so by a mask.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear

from bioviz_fastweights.errors import AttachError

ADAPTER = "default"
PROJECTIONS = ("q", "k", "v")


@dataclass(frozen=True, slots=True)
class FastWeightConfig:
    """Rank and scale of each projection's adapter, and which projections and layers have one.

    `alpha` is `4 rank` where None; `layers` are the places of the attention layers in order, all
    where None. `share_a` gives the ordinary LoRA of a fused layer: one `A` for all projections.
    """

    rank: int = 8
    alpha: float | None = None
    projections: tuple[str, ...] = PROJECTIONS
    layers: tuple[int, ...] | None = None
    share_a: bool = False

    def __post_init__(self) -> None:
        if self.rank < 1:
            raise AttachError(f"rank must be at least 1, got {self.rank}")
        if not self.projections or set(self.projections) - set(PROJECTIONS):
            raise AttachError(f"projections must be some of {PROJECTIONS}, got {self.projections}")

    @property
    def scaling(self) -> float:
        """`alpha / rank`, the factor of `B A`."""
        return 4.0 if self.alpha is None else self.alpha / self.rank

    @property
    def columns(self) -> int:
        """The rank of the peft layer."""
        return self.rank if self.share_a else self.rank * len(set(self.projections))


def inject(
    model: nn.Module, names: Sequence[str], config: FastWeightConfig, context: str
) -> dict[str, LoraLayer]:
    """Add the adapters of a context to the layers of these names, and give these layers."""
    peft_config = LoraConfig(
        r=config.columns,
        lora_alpha=config.scaling * config.columns,  # type: ignore[arg-type]  # any number will do
        target_modules=[*names],
        lora_dropout=0.0,
        bias="none",
    )
    # peft draws from the global generator; what it draws is drawn again, from the seed. It warns of
    # a second adapter, which is what a second context is.
    with torch.random.fork_rng(devices=[]), warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Already found a `peft_config`")
        inject_adapter_in_model(peft_config, model, context)
    found: dict[str, LoraLayer] = {}
    for name in names:
        layer: Any = model.get_submodule(name)
        mask = _mask(layer.get_base_layer(), config)
        layer.lora_B[context] = MaskedLinear(layer.lora_B[context].weight, mask)
        found[name] = layer
    return found


class MaskedLinear(nn.Linear):
    """A `B` whose entries outside its blocks are zero and get no gradient.

    peft finds its weight under the usual name, so that saved adapters are ordinary ones.
    """

    mask: Tensor

    def __init__(self, weight: nn.Parameter, mask: Tensor) -> None:
        rows, columns = weight.shape
        super().__init__(columns, rows, bias=False, device="meta")
        self.weight = weight
        self.register_buffer("mask", mask.to(weight), persistent=False)

    def forward(self, inputs: Tensor) -> Tensor:
        """`inputs @ (weight * mask)^T`."""
        return linear(inputs, self.weight * self.mask)


def _mask(base: nn.Linear, config: FastWeightConfig) -> Tensor:
    """`(out, columns)`: ones in the block of each projection, zeros elsewhere."""
    size = base.out_features // 3
    mask = torch.zeros(base.out_features, config.columns)
    block = 0
    for place, projection in enumerate(PROJECTIONS):
        if projection not in config.projections:
            continue
        columns = slice(None)
        if not config.share_a:
            columns = slice(block * config.rank, (block + 1) * config.rank)
        mask[place * size : (place + 1) * size, columns] = 1.0
        block += 1
    return mask
