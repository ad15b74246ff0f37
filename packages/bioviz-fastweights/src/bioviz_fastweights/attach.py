"""Where fast weights sit: on the q, k and v thirds of a model's fused attention layers."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from bioviz_fastweights.adapters import ADAPTER, PROJECTIONS, FastWeightConfig, inject
from bioviz_fastweights.errors import AttachError
from bioviz_fastweights.fast_weights import FastWeights


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
    layers_by_name = inject(model, names, config, ADAPTER)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_("lora_" in name)
    fast = FastWeights(model, layers_by_name, config, seed=seed, trainable=trainable)
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
