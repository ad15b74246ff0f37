"""Configurations: typed fields, layered sources, and every problem at once.

    class SolverConfig(Config):
        tol: float = Field(1e-5, gt=0)
        '''Stop when the residual norm is below this.'''

The string under a field is its help text. Later layers win: field defaults, preset, config file,
`--set`, arguments. Nothing but `ConfigError` leaves `read` and `resolve`.
"""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic import Field as Field
from pydantic_core import CoreSchema, core_schema

from bioviz_core.errors import ConfigError, Problem
from bioviz_core.lab.options import HEADER, alternatives, default_of, table_of
from bioviz_core.lab.options import Option as Option
from bioviz_core.lab.options import changed as changed
from bioviz_core.lab.options import options as options
from bioviz_core.lab.problems import path_of, problems

RESERVED = frozenset({*HEADER, "device", "precision", "threads", "folder", "config", "strict"})
"""Names that `run` takes itself, so that no field of an experiment may have them."""

C = TypeVar("C", bound="Config")


class Config(BaseModel):
    """Base of every configuration: frozen, no unknown keys, defaults checked, numbers finite."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        use_attribute_docstrings=True,
        allow_inf_nan=False,
        protected_namespaces=(),
    )


@dataclass(frozen=True, slots=True)
class ModelInput:
    """A config field that names a model: a safetensors file, or a run that saved one model."""

    path: str
    file: Path = field(init=False, compare=False, repr=False)
    """The file that holds the model."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "file", _model_file(Path(self.path)))

    def __str__(self) -> str:
        return self.path

    @property
    def sha256(self) -> str:
        """Hash of the file, so that a report says which weights a run began with."""
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def load(self) -> Any:
        """Build the model; imports its framework."""
        return import_module("bioviz_core.lab.pretrained").load_model(self.file)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> CoreSchema:
        del source, handler
        return core_schema.no_info_before_validator_function(
            lambda value: str(value) if isinstance(value, cls | Path) else value,
            core_schema.no_info_after_validator_function(cls, core_schema.str_schema()),
            serialization=core_schema.to_string_ser_schema(when_used="always"),
        )


def _model_file(path: Path) -> Path:
    if path.is_file():
        return path
    if not path.exists():
        raise ValueError(f"{path} does not exist; name a run directory or a model file")
    found = sorted((path / "models").glob("*.safetensors"))
    if len(found) == 1:
        return found[0]
    if found:
        raise ValueError(f"{path} holds {len(found)} models; name one of {_words(found)}")
    raise ValueError(f"{path} holds no model: no file is called {path}/models/*.safetensors")


def read(path: str | Path) -> dict[str, Any]:
    """A TOML or JSON config file as it stands, header keys included."""
    path = Path(path)
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if kind == "JSON" else tomllib.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"a table is needed at the top, not a {type(data).__name__}")
    except OSError as error:
        raise _file_error(path, error.strerror or str(error)) from error
    except (ValueError, RecursionError) as error:
        raise _file_error(path, f"cannot be read as {kind}: {error}") from error
    return data


def _file_error(path: Path, message: str) -> ConfigError:
    return ConfigError([Problem(str(path), message)], of="the configuration file")


def resolve(
    config_class: type[C],
    *,
    name: str,
    preset_name: str | None,
    presets: Mapping[str, Mapping[str, object]],
    file: str | Path | Mapping[str, Any] | None = None,
    sets: Sequence[str] = (),
    options: Mapping[str, Any] | None = None,
) -> C:
    """The configuration of experiment `name` from all its sources, later ones winning.

    In a preset, a file and arguments, a key at the top may be a dotted path.
    """
    of = f"the configuration of {name}"
    layers = _Layers()
    config = None
    try:
        for field_name, info in config_class.model_fields.items():
            # A layer over one key of a table must keep what the table's default sets beside it.
            if table_of(info) and isinstance(table := default_of(info), BaseModel):
                layers.merge({field_name: table}, "the defaults")
        _merge_preset(layers, preset_name, presets)
        if file is not None:
            _merge_file(layers, file, name)
        for text in sets:
            layers.override(text)
        layers.merge(options or {}, "arguments")
        for taken in sorted(RESERVED & config_class.model_fields.keys()):
            why = f"is a reserved name: rename this field of {config_class.__name__}"
            layers.problems.append(Problem(taken, why))
        config = _validated(config_class, layers)
    except ConfigError as error:
        layers.problems += error.problems
    except Exception as error:  # A validator or a default factory of a plugin may raise anything.
        why = f"{config_class.__name__} raised {type(error).__name__}: {error}"
        raise ConfigError([*layers.problems, Problem("configuration", why)], of=of) from error
    if config is None or layers.problems:
        raise ConfigError(layers.problems, of=of)
    return config


def _merge_preset(
    layers: _Layers, name: str | None, presets: Mapping[str, Mapping[str, object]]
) -> None:
    if name is not None and name in presets:
        layers.merge(presets[name], f"preset {name}")
    elif name is not None:
        close = get_close_matches(name, presets, n=1)
        why = f"{name!r} must be one of {_words(presets)}"
        layers.problems.append(Problem("preset", why, None, tuple(close)))


def _merge_file(layers: _Layers, file: str | Path | Mapping[str, Any], name: str) -> None:
    if isinstance(file, Mapping):
        data, source = file, "config"
    else:
        data, source = read(file), Path(file).name
    meant = data.get("experiment", name)
    if meant != name:
        why = f"{meant!r} must be {name!r}, which is to be run"
        layers.problems.append(Problem("experiment", why, source))
    layers.merge({key: data[key] for key in data if key not in HEADER}, source)


class _Layers:
    """The merged data, who set each leaf, the text of each `--set`, and what went wrong."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.sources: dict[tuple[str, ...], str] = {}
        self.texts: dict[tuple[str, ...], str] = {}
        self.problems: list[Problem] = []

    def merge(self, layer: Mapping[Any, Any], source: str, above: tuple[str, ...] = ()) -> None:
        for key, value in layer.items():
            # Below the top a dot may belong to a name, as in a table of layers: "layer3.0".
            parts = (*above, str(key)) if above else tuple(str(key).split("."))
            if isinstance(value, BaseModel):
                value = dict(value)
            if isinstance(value, Mapping) and value:
                self.merge(value, source, parts)
            else:
                self._put(parts, value, source)

    def override(self, text: str) -> None:
        path, equals, value = text.partition("=")
        parts = tuple(path.strip().split("."))
        if not equals or not all(parts):
            why = f"{text!r} must have the form path.to.option=value"
            self.problems.append(Problem("--set", why))
            return
        self.merge({path.strip(): _toml_value(value.strip())}, "--set")
        self.texts[parts] = value.strip()

    def use_texts(self, parts: Iterable[tuple[str, ...]]) -> None:
        for one in parts:
            self._put(one, self.texts[one], "--set")

    def _put(self, parts: tuple[str, ...], value: Any, source: str) -> None:
        table = self.data
        for parent in parts[:-1]:
            if not isinstance(table.get(parent), dict):
                table[parent] = {}  # A table over a plain value replaces it, as any later layer.
            table = table[parent]
        if value == {} and isinstance(table.get(parts[-1]), dict):
            return
        table[parts[-1]] = value
        self.sources[parts] = source
        self.texts.pop(parts, None)

    def source(self, path: str) -> str | None:
        """Who set this path, the table around it, or something inside it."""
        known = {".".join(parts): source for parts, source in self.sources.items()}
        around = [one for one in known if f"{path}.".startswith(f"{one}.")]
        inside = [one for one in known if one.startswith(f"{path}.")]
        return known[max(around, key=len)] if around else known[inside[-1]] if inside else None


def _toml_value(text: str) -> Any:
    """`text` as a TOML value, else as a bare string; `null` is None, which TOML cannot say."""
    if text == "null":
        return None
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return table["value"] if table.keys() == {"value"} else text


def _validated(config_class: type[C], layers: _Layers) -> C:
    config, errors = _attempt(config_class, layers)
    wrong = {path_of(config_class, error["loc"]) for error in errors}
    if again := [parts for parts in layers.texts if ".".join(parts) in wrong]:
        # `--set name=3` reads as a number, but the field may want the text.
        layers.use_texts(again)
        config, others = _attempt(config_class, layers)
        still = {path_of(config_class, error["loc"]) for error in others}
        errors = [e for e in errors if path_of(config_class, e["loc"]) in still]
    slips = {slip.path: slip for slip in _truths(config_class, layers.data, layers.source)}
    found = {one.path: one for one in problems(config_class, errors, layers.source)} | slips
    if found or config is None:
        raise ConfigError(found.values())
    return config


def _attempt(config_class: type[C], layers: _Layers) -> tuple[C | None, list[Any]]:
    try:
        return config_class.model_validate(layers.data), []
    except ValidationError as refused:
        return None, list(refused.errors())


def _truths(
    config_class: type[BaseModel],
    data: Mapping[str, Any],
    source: Callable[[str], str | None],
    above: str = "",
) -> Iterator[Problem]:
    """`lr = true` is a slip, although Python, and so pydantic, takes it for 1."""
    for name, info in config_class.model_fields.items():
        path, value, table = f"{above}{name}", data.get(name), table_of(info)
        kinds = {*alternatives(info.annotation)}
        if table is not None and isinstance(value, Mapping):
            yield from _truths(table, value, source, f"{path}.")
        elif isinstance(value, bool) and {int, float} & kinds and not {bool, str} & kinds:
            asked = "a number" if float in kinds else "an integer"
            yield Problem(path, f"{value} must be {asked}", source(path))


def _words(names: Iterable[object]) -> str:
    return ", ".join(map(str, names)) or "(there are none)"
