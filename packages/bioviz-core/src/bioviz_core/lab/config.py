"""Configurations: typed fields, layered sources, and every problem at once.

    class SolverConfig(Config):
        tol: float = Field(1e-5, gt=0)
        '''Stop when the residual norm is below this.'''

The string under a field is its help text. Later layers win: field defaults, preset, config file,
`--set`, arguments. `ConfigError` has all problems.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from importlib import import_module
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, model_validator

from bioviz_core.errors import ConfigError, Problem
from bioviz_core.lab.options import Option, changed, options, table_of

__all__ = ["Config", "Field", "ModelInput", "Option", "changed", "options", "read", "resolve"]

C = TypeVar("C", bound=BaseModel)
Parts = tuple[str, ...]


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


class ModelInput(RootModel[Path]):
    """A config field that names a model: a safetensors file, or a run that saved one model."""

    model_config = ConfigDict(frozen=True)

    def __str__(self) -> str:
        return str(self.root)

    @model_validator(mode="after")
    def _names_a_model(self) -> Self:
        _ = self.file
        return self

    @property
    def file(self) -> Path:
        """The file that holds the model."""
        found = [self.root] if self.root.is_file() else [*self.root.glob("models/*.safetensors")]
        if len(found) != 1:
            names = ", ".join(map(str, sorted(found))) or "none"
            raise ValueError(f"{self} must be a model file or a run with one model, not {names}")
        return found[0]

    @property
    def sha256(self) -> str:
        """Hash of the file, so that a report says which weights a run began with."""
        with self.file.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()

    def load(self) -> Any:
        """Build the model; imports its framework."""
        return import_module("bioviz_core.lab.pretrained").load_model(self.file)


class Header(BaseModel):
    """What a config file says beside the fields: which experiment, and with what."""

    experiment: str
    preset: str = "smoke"
    seed: int = 0


RESERVED = (*Header.model_fields, "device", "precision", "threads", "folder", "config", "strict")
"""Names that `run` takes itself, so that no field of an experiment may have them."""


def read(path: str | Path) -> dict[str, Any]:
    """A TOML or JSON config file as it stands, header keys included."""
    path = Path(path)
    kind = "JSON" if path.suffix == ".json" else "TOML"
    try:
        text = path.read_text(encoding="utf-8")
        data = json.loads(text) if kind == "JSON" else tomllib.loads(text)
        if not isinstance(data, dict):
            raise ValueError(f"a table is needed at the top, not a {type(data).__name__}")
    except (OSError, ValueError, RecursionError) as error:
        problem = Problem(str(path), f"cannot be read as {kind}: {error}")
        raise ConfigError([problem], of="the configuration file") from error
    return data


def read_header(path: str | Path) -> Header:
    """What the header of a config file says, for a run that is named by its file alone."""
    layers = _Layers()
    layers.merge(read(path), Path(path).name)
    return _validated(Header, layers, of="the configuration file")


def resolve(
    config_class: type[C], *, name: str, preset_name: str | None,
    presets: Mapping[str, Mapping[str, object]], file: str | Path | Mapping[str, Any] | None = None,
    sets: Sequence[str] = (), options: Mapping[str, Any] | None = None,
) -> C:  # fmt: skip
    """The configuration of experiment `name` from all its sources, later ones winning.

    In a preset, a file and arguments, a key at the top may be a dotted path.
    """
    layers = _Layers()
    for field, info in config_class.model_fields.items():
        if field in RESERVED:
            why = f"is a reserved name: rename this field of {config_class.__name__}"
            layers.problems.append(Problem(field, why))
        # A layer over one key of a table must keep what the table's default sets beside it.
        if table_of(info) and not info.is_required():
            layers.merge({field: info.get_default(call_default_factory=True)}, "the defaults")
    preset = {} if preset_name is None else presets.get(preset_name)
    if preset is None:
        close = get_close_matches(str(preset_name), presets, n=1)
        why = f"{preset_name!r} must be one of {', '.join(presets)}"
        layers.problems.append(Problem("preset", why, None, tuple(close)))
    layers.merge(preset or {}, f"preset {preset_name}")
    if file is not None:
        data = file if isinstance(file, Mapping) else read(file)
        source = "config" if isinstance(file, Mapping) else Path(file).name
        if (meant := data.get("experiment", name)) != name:
            why = f"{meant!r} must be {name!r}, which is to be run"
            layers.problems.append(Problem("experiment", why, source))
        header = Header.model_fields
        layers.merge({key: data[key] for key in data if key not in header}, source)
    for text in sets:
        layers.override(text)
    layers.merge(options or {}, "arguments")
    return _validated(config_class, layers, of=f"the configuration of {name}")


class _Layers:
    """The merged data, who set what, and what went wrong."""

    def __init__(self) -> None:
        self.data: dict[str, Any] = {}
        self.sources: list[tuple[Parts, str]] = []
        self.problems: list[Problem] = []

    def merge(self, layer: Mapping[Any, Any], source: str, above: Parts = ()) -> None:
        for key, value in layer.items():
            # Below the top a dot may belong to a name, as in a table of layers: "layer3.0".
            parts = (*above, str(key)) if above else tuple(str(key).split("."))
            value = dict(value) if isinstance(value, Config) else value
            if isinstance(value, Mapping) and value:
                self.merge(value, source, parts)
            else:
                self.put(parts, value, source)

    def override(self, text: str) -> None:
        path, equals, value = (part.strip() for part in text.partition("="))
        if equals and all(path.split(".")):
            self.merge({path: _toml_value(value)}, "--set")
        else:
            why = f"{text!r} must have the form path.to.option=value"
            self.problems.append(Problem("--set", why))

    def put(self, parts: Parts, value: Any, source: str) -> None:
        table = self.data
        for parent in parts[:-1]:
            if not isinstance(table.get(parent), dict):
                table[parent] = {}  # A table over a plain value replaces it, as any later layer.
            table = table[parent]
        if value != {} or not isinstance(table.get(parts[-1]), dict):
            table[parts[-1]] = value
            self.sources.append((parts, source))

    def source(self, path: Parts) -> str | None:
        """Who last set this path, the table around it, or something inside it."""
        related = (s for p, s in reversed(self.sources) if p[: len(path)] == path[: len(p)])
        return next(related, None)

    def path(self, error: Any) -> Parts:
        """Where an error is, without the branches of unions, which pydantic also names."""
        found: list[str] = []
        here: Any = self.data
        for part in error["loc"]:
            is_item = isinstance(here, list | tuple) and isinstance(part, int)
            if part in here if isinstance(here, Mapping) else is_item and part < len(here):
                here = here[part]
            elif found and (part != error["loc"][-1] or error["type"] != "missing"):
                continue
            found.append(str(part))
        return tuple(found)


def _toml_value(text: str) -> Any:
    """`text` as a TOML value, else as a bare string; `null` is None, which TOML cannot say."""
    if text == "null":
        return None
    try:
        table = tomllib.loads(f"value = {text}")
    except (tomllib.TOMLDecodeError, RecursionError):
        return text
    return table["value"] if table.keys() == {"value"} else text


def _validated(config_class: type[C], layers: _Layers, *, of: str) -> C:
    found = layers.problems
    try:
        config = config_class.model_validate(layers.data)
    except ValidationError as refused:
        by_path: dict[Parts, list[Any]] = {}
        for error in refused.errors():
            by_path.setdefault(layers.path(error), []).append(error)
        found += [_problem(config_class, path, errors, layers) for path, errors in by_path.items()]
    if found:
        raise ConfigError(found, of=of)
    return config


def _problem(
    config_class: type[BaseModel], path: Parts, errors: Sequence[Any], layers: _Layers
) -> Problem:
    """What pydantic refuses at one path, by all branches of a union there."""
    # A key that one branch forbids may be wrong in another branch for a better reason.
    errors = [e for e in errors if e["type"] != "extra_forbidden"] or errors
    if errors[0]["type"] == "extra_forbidden":
        message, close = "unknown key", _close_paths(config_class, path)
    else:
        message = " or ".join(dict.fromkeys(_rule(error["msg"]) for error in errors))
        value = errors[0]["input"]
        close = get_close_matches(str(value), re.findall(r"'(.*?)'", message), n=1)
        if message.startswith("must"):
            message = f"{reprlib.repr(value)} {message}"
    where = ".".join(path) or "configuration"
    return Problem(where, message, layers.source(path), tuple(close))


def _rule(message: str) -> str:
    """Pydantic's message without its opening, and without what it says of parsing."""
    if rule := re.match(r"Input should be (.*?)(, (unable|got) .*)?$", message):
        return f"must be {rule[1]}"
    return re.sub(r"^(Value|Assertion) error, ", "", message)


def _close_paths(config_class: type[BaseModel], path: Parts) -> Sequence[str]:
    """Known paths that an unknown one may mean: of the same last name, or spelt alike."""
    leaves = [option.path.split(".") for option in options(config_class)]
    known = dict.fromkeys(".".join(p[:end]) for p in leaves for end in range(1, len(p) + 1))
    same_name = [one for one in known if one.rpartition(".")[2] == path[-1]]
    return same_name[:2] or get_close_matches(".".join(path), known, n=1)
