"""Where fast weights sit: LoRA on the q, k and v thirds of fused attention layers, through peft.

    W_eff = W_slow + (alpha / r) B A

A fused layer with an ordinary LoRA shares one `A` between q, k and v. Here each projection has its
own adapter of rank r: one peft layer of rank 3 r whose `B` is block-diagonal, kept so by a mask.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import Tensor, nn
from torch.nn.functional import linear

from bioviz_fastweights.errors import AttachError
from bioviz_fastweights.fast_weights import FastWeights

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


def attach_fast_weights(
    model: nn.Module,
    *,
    rank: int = 8,
    alpha: float | None = None,
    projections: Sequence[str] = PROJECTIONS,
    layers: Sequence[int] | None = None,
    share_a: bool = False,
    seed: int = 0,
) -> FastWeights:
    """Add fast weights to the fused attention layers of a model, which answers as before.

    Every other parameter is frozen (the regime `fast`): what is written can be taken back to the
    bit. `seed` draws the `A`; the `B` are zero. See `FastWeightConfig` for the others.
    """
    config = FastWeightConfig(
        rank, alpha, tuple(projections), None if layers is None else tuple(layers), share_a
    )
    if getattr(model, "fast_weights", None) is not None:
        raise AttachError("this model has fast weights already: detach_fast_weights first")
    names = _targets(model, config)
    trainable = {name: p.requires_grad for name, p in model.named_parameters()}
    peft_config = LoraConfig(
        r=config.columns,
        lora_alpha=config.scaling * config.columns,  # type: ignore[arg-type]  # any number will do
        target_modules=names,
        lora_dropout=0.0,
        bias="none",
    )
    # peft draws from the global generator; what it draws is drawn again, from the seed.
    with torch.random.fork_rng(devices=[]):
        inject_adapter_in_model(peft_config, model, ADAPTER)
    found: dict[str, LoraLayer] = {}
    for name in names:
        layer: Any = model.get_submodule(name)
        mask = _mask(layer.get_base_layer(), config)
        layer.lora_B[ADAPTER] = MaskedLinear(layer.lora_B[ADAPTER].weight, mask)
        found[name] = layer
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    fast = FastWeights(model, found, config.projections, seed=seed, trainable=trainable)
    fast.reset()
    model.fast_weights = fast  # type: ignore[assignment]  # a plain attribute, not a submodule
    return fast


def detach_fast_weights(model: nn.Module) -> None:
    """Take the fast weights away: the original layers, weights and flags, as they were."""
    fast = getattr(model, "fast_weights", None)
    if fast is None:
        raise AttachError("this model has no fast weights to detach")
    fast.refuse_merged("detach_fast_weights")
    for name, layer in fast.layers.items():
        parent, _, child = name.rpartition(".")
        setattr(model.get_submodule(parent), child, layer.get_base_layer())
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(fast.trainable[name])
    # What peft noted of its own; it would warn at the next attaching.
    del model.peft_config
    model.fast_weights = None  # type: ignore[assignment]  # as above


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


def _targets(model: nn.Module, config: FastWeightConfig) -> list[str]:
    linears = {name: m for name, m in model.named_modules() if isinstance(m, nn.Linear)}
    fused = [name for name in linears if name.rpartition(".")[2] == "qkv"]
    if not fused:
        raise AttachError(
            f"the model has no fused layer called 'qkv'; its linear layers are {[*linears][:10]}"
        )
    places = range(len(fused)) if config.layers is None else config.layers
    if unknown := [place for place in places if not 0 <= place < len(fused)]:
        raise AttachError(f"layers {unknown} are outside 0 to {len(fused) - 1}")
    chosen = [fused[place] for place in places]
    for name in chosen:
        bound = min(linears[name].in_features, linears[name].out_features // 3)
        if config.rank > bound:
            raise AttachError(f"rank {config.rank} is above {bound}, the most {name} can use")
    return chosen


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
