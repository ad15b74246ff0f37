"""Fields described as data: layers, who reads whom, and with which kernels.

    name = "digits-2l"
    base_channels = 16
    layers = [{ shape = [1, 8, 8] }, { shape = [16, 8, 8] }]

    [fields]
    0 = { main_kernel = 5, from = { 1 = { conv = 5 } } }
    1 = { main_kernel = 5, from = { 0 = { conv = 5 }, 1 = { conv = 5 } } }

Layer 0 is the image. A source is read by a convolution of an odd size, or is `"fc"`.
"""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any, Literal

from bioviz_nrf.errors import ArchitectureError
from bioviz_nrf.sampling.bounds import Bounds

Activation = Literal["silu", "leaky_relu", "relu"]
ACTIVATIONS = ("silu", "leaky_relu", "relu")
FULLY_CONNECTED = 0
"""The kernel size that stands for a fully connected source."""


@dataclass(frozen=True, slots=True)
class FieldConfig:
    """What one layer reads: kernel sizes by source, and the kernel of the last convolution."""

    sources: Mapping[int, int]
    main_kernel: int | None = None

    @property
    def convolved(self) -> tuple[int, ...]:
        """Sources read by a convolution, in order."""
        return tuple(j for j, kernel in self.sources.items() if kernel != FULLY_CONNECTED)

    @property
    def connected(self) -> tuple[int, ...]:
        """Sources read by a fully connected layer, in order."""
        return tuple(j for j, kernel in self.sources.items() if kernel == FULLY_CONNECTED)


@dataclass(frozen=True, slots=True)
class ArchConfig:
    """A whole field; checked on construction, with the layer and the entry named."""

    name: str
    layers: tuple[tuple[int, int, int], ...]
    fields: tuple[FieldConfig, ...]
    base_channels: int = 32
    activation: Activation = "silu"
    low: float = -1.0
    high: float = 1.0
    weight_norm: bool = True

    def __post_init__(self) -> None:
        if len(self.layers) < 1 or len(self.fields) != len(self.layers):
            raise self._error(
                f"{len(self.layers)} layers need as many fields, got {len(self.fields)}"
            )
        if self.activation not in ACTIVATIONS:
            raise self._error(f"activation {self.activation!r} is none of {', '.join(ACTIVATIONS)}")
        if self.base_channels < 1:
            raise self._error(f"base_channels must be at least 1, got {self.base_channels}")
        if not self.low < self.high:
            raise self._error(f"domain: low {self.low} must be below high {self.high}")
        for index, (shape, field) in enumerate(zip(self.layers, self.fields, strict=True)):
            if len(shape) != 3 or min(shape) < 1:
                raise self._error(f"layer {index}: the shape {shape} must be three positive sizes")
            self._check_field(index, field)

    def _check_field(self, index: int, field: FieldConfig) -> None:
        where = f"field {index}"
        if not field.sources:
            raise self._error(f"{where}: from is empty; a layer must read something")
        if unknown := [j for j in field.sources if not 0 <= j < len(self.layers)]:
            raise self._error(
                f"{where}: from names the layers {unknown}, there are {len(self.layers)}"
            )
        kernels = {f"from.{j}.conv": field.sources[j] for j in field.convolved}
        if field.convolved:
            kernels["main_kernel"] = field.main_kernel or 0
        elif field.main_kernel is not None:
            raise self._error(f"{where}: main_kernel {field.main_kernel} has nothing to convolve")
        for key, size in kernels.items():
            if size < 1 or size % 2 == 0:
                raise self._error(f"{where}: {key} must be odd, to keep the size; got {size}")

    def _error(self, message: str) -> ArchitectureError:
        return ArchitectureError(f"architecture {self.name!r}: {message}")

    @property
    def domain(self) -> Bounds:
        """The box that states live in."""
        return Bounds(self.low, self.high)


def load_architecture(given: str | Path | Mapping[str, Any]) -> ArchConfig:
    """An architecture by its name here, from a TOML file, or from the same as a mapping."""
    if isinstance(given, Mapping):
        return _parsed(given)
    if isinstance(given, str) and not given.endswith(".toml"):
        known = architectures()
        if given not in known:
            raise ArchitectureError(f"no architecture is called {given!r}; there are {known}")
        return _parsed(tomllib.loads((_folder() / f"{given}.toml").read_text("utf-8")))
    return _parsed(tomllib.loads(Path(given).read_text("utf-8")))


def architectures() -> list[str]:
    """The names that `load_architecture` knows."""
    return sorted(
        f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml")
    )


def _folder() -> Any:
    return files("bioviz_nrf") / "architectures"


def _parsed(tree: Mapping[str, Any]) -> ArchConfig:
    name = str(tree.get("name", "unnamed"))
    known = {"name", "base_channels", "activation", "domain", "weight_norm", "layers", "fields"}
    _only(tree, known, name, "the top")
    domain = dict(tree.get("domain", {}))
    if domain.pop("kind", "box") != "box":
        raise ArchitectureError(f"architecture {name!r}: domain.kind must be 'box'")
    _only(domain, {"low", "high"}, name, "domain")
    fields = {int(index): entry for index, entry in tree.get("fields", {}).items()}
    layers = tree.get("layers", ())
    if sorted(fields) != [*range(len(layers))]:
        raise ArchitectureError(
            f"architecture {name!r}: fields are {sorted(fields)}, layers 0 to {len(layers) - 1}"
        )
    options = {
        key: tree[key] for key in ("base_channels", "activation", "weight_norm") if key in tree
    }
    return ArchConfig(
        name=name,
        layers=tuple(tuple(layer["shape"]) for layer in layers),
        fields=tuple(_field(fields[index], name, index) for index in range(len(layers))),
        **options,
        **domain,
    )


def _field(entry: Mapping[str, Any], name: str, index: int) -> FieldConfig:
    where = f"field {index}"
    _only(entry, {"main_kernel", "from"}, name, where)
    sources: dict[int, int] = {}
    for source, how in entry.get("from", {}).items():
        if how == "fc":
            sources[int(source)] = FULLY_CONNECTED
        elif isinstance(how, Mapping) and set(how) == {"conv"}:
            # 0 would read as fully connected; -1 is refused as a size.
            sources[int(source)] = int(how["conv"]) or -1
        else:
            raise ArchitectureError(
                f"architecture {name!r}: {where}: from.{source} must be 'fc' or {{conv = size}}, "
                f"got {how!r}"
            )
    return FieldConfig(sources, entry.get("main_kernel"))


def _only(entry: Mapping[str, Any], known: set[str], name: str, where: str) -> None:
    if unknown := sorted(set(entry) - known):
        raise ArchitectureError(
            f"architecture {name!r}: {where} has the unknown keys {', '.join(unknown)}; known are "
            f"{', '.join(sorted(known))}"
        )
