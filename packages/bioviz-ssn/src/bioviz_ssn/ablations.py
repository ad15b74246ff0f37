"""Training configurations as data: what is trained, on what, and where the answer is read.

The groups of parameters that a configuration names are made of parts, a part being one number of
the paper's tables, such as `J_II_s`: from I to I cells of the superficial layer.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from difflib import get_close_matches
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from bioviz_core.errors import UnknownNameError

from bioviz_ssn.parameters import SSNParams

Task = Literal["fine", "general"]

_LAYERS = {"m": "middle", "s": "superficial"}
_BLOCKS = {"EE": (0, 0), "EI": (0, 1), "IE": (1, 0), "II": (1, 1)}


def _weights(layers: Iterable[str], blocks: Iterable[str] = _BLOCKS) -> tuple[str, ...]:
    return tuple(f"J_{block}_{layer}" for layer in layers for block in blocks)


GROUPS: Mapping[str, tuple[str, ...]] = {
    "c": ("c_E", "c_I"),
    "f": ("f_E", "f_I"),
    "J_M": _weights("m"),
    "J_S": _weights("s"),
    "JI": _weights("ms", ("EI", "II")),
    "JE": _weights("ms", ("EE", "IE")),
    "kappa_Jsup": ("kappa_Jsup",),
    "kappa_Jmid": ("kappa_Jmid",),
    "kappa_f": ("kappa_f",),
}
"""Groups of parts. JI and JE are what I and what E cells send, in both layers."""

PRETRAINED = ("c", "f", "J_M", "J_S")
ALL = (*PRETRAINED, "kappa_Jsup", "kappa_Jmid", "kappa_f")


@dataclass(frozen=True, slots=True)
class Configuration:
    """What fine training may change, and how the network is read.

    `trained` names groups or parts; what is not named is frozen. `readout_mix` are the shares of
    the superficial and of the middle layer. `p_local` is the share of E weights, onto E and onto I
    cells, that stays within a point: at (1, 1) no E cell has horizontal connections.
    `shuffle_labels` pretrains on labels without meaning, as the published code does.
    `refit_readout` fits a new readout before fine training.
    """

    trained: tuple[str, ...] = ALL
    readout_mix: tuple[float, float] = (1.0, 0.0)
    task: Task = "fine"
    p_local: tuple[float, float] = (0.4, 0.7)
    shuffle_labels: bool = False
    refit_readout: bool = False


_BASELINE = Configuration()
_LOCAL = (1.0, 1.0)
_NINE = {
    "kappa_Jsup": ("kappa_Jsup",),
    "kappa_Jmid": ("kappa_Jmid",),
    "kappa_f": ("kappa_f",),
    "cms": ("c",),
    "JI": ("JI",),
    "JE": ("JE",),
    "Jm": ("J_M",),
    "Js": ("J_S",),
    "f": ("f",),
}


def parts_of(trained: Iterable[str]) -> tuple[str, ...]:
    """The parts of groups and parts, each once; `UnknownNameError` for what is neither."""
    every = dict.fromkeys(part for group in ALL for part in GROUPS[group])
    found: dict[str, None] = {}
    for name in trained:
        if name not in GROUPS and name not in every:
            raise _unknown(name, [*GROUPS, *every], "group of parameters")
        found.update(dict.fromkeys(GROUPS.get(name, (name,))))
    return tuple(found)


def _without(group: tuple[str, ...]) -> tuple[str, ...]:
    left_out = parts_of(group)
    return tuple(part for part in parts_of(ALL) if part not in left_out)


SPECIAL: Mapping[str, Configuration] = {
    "baseline": _BASELINE,
    "gentask": replace(_BASELINE, task="general"),
    "no_horiconn": replace(_BASELINE, p_local=_LOCAL),
    "shuffled_labels": replace(_BASELINE, shuffle_labels=True),
}
READOUT: Mapping[str, Configuration] = {
    "suponly": replace(_BASELINE, refit_readout=True),
    "mixed": replace(_BASELINE, readout_mix=(0.5, 0.5), refit_readout=True),
    "midonly": replace(_BASELINE, readout_mix=(0.0, 1.0), refit_readout=True),
    "suponly_no_hori": replace(_BASELINE, p_local=_LOCAL, refit_readout=True),
}
EXCLUDED: Mapping[str, Configuration] = {
    f"all_but_{name}": replace(_BASELINE, trained=_without(group)) for name, group in _NINE.items()
}
ONLY: Mapping[str, Configuration] = {
    f"only_{name}": replace(_BASELINE, trained=group) for name, group in _NINE.items()
}
CONFIGURATIONS: Mapping[str, Configuration] = {**SPECIAL, **READOUT, **EXCLUDED, **ONLY}


def configuration(name: str) -> Configuration:
    """A configuration of the paper by name; `UnknownNameError`, with near names, for another."""
    if name not in CONFIGURATIONS:
        raise _unknown(name, CONFIGURATIONS, "configuration")
    return CONFIGURATIONS[name]


def trained_mask(trained: Iterable[str], like: SSNParams, *, readout: bool = False) -> SSNParams:
    """1 where a parameter is trained and 0 where it is frozen, in the shapes of `like`.

    `like` may have leading axes, such as one for seeds. `readout` trains the readout and its bias.
    """
    parts = parts_of(trained)
    # In NumPy: each operation would be compiled for each shape.
    mask: Any = jax.tree.map(lambda leaf: np.zeros(leaf.shape, leaf.dtype), like)

    def chosen(*names: str) -> list[float]:
        return [float(name in parts) for name in names]

    layers = {}
    for letter, layer in _LAYERS.items():
        weights = [chosen(f"J_E{b}_{letter}", f"J_I{b}_{letter}") for b in "EI"]
        own = getattr(mask, layer)
        layers[layer] = replace(
            own,
            log_j=own.log_j + np.asarray(weights, own.log_j.dtype).T,
            baseline=own.baseline + np.asarray(chosen("c_E", "c_I"), own.baseline.dtype),
            kappa=own.kappa + chosen({"m": "kappa_Jmid", "s": "kappa_Jsup"}[letter])[0],
        )
    mask = replace(
        mask,
        **layers,
        log_f=mask.log_f + np.asarray(chosen("f_E", "f_I"), mask.log_f.dtype),
        kappa_f=mask.kappa_f + chosen("kappa_f")[0],
        readout=mask.readout + float(readout),
        bias=mask.bias + float(readout),
    )
    found: SSNParams = jax.tree.map(jnp.asarray, mask)
    return found


def _unknown(name: str, known: Iterable[str], kind: str) -> UnknownNameError:
    return UnknownNameError(name, get_close_matches(name, list(known), n=3, cutoff=0.5), kind)
