"""What a configuration class offers: its options by dotted path, and how a value differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

HEADER = ("experiment", "preset", "seed")
"""Keys that a config file has beside the fields: what to run, and with what."""


@dataclass(frozen=True, slots=True)
class Option:
    """One leaf of a configuration: its dotted path, type, default, help text and range."""

    path: str
    type: str
    default: object
    meaning: str
    allowed: str = ""
    required: bool = False


def options(config_class: type[BaseModel]) -> list[Option]:
    """Every option in order of declaration, nested ones by dotted path, defaults as JSON values."""
    return list(_options(config_class, "", {}))


def _options(
    config_class: type[BaseModel], prefix: str, given: Mapping[str, Any]
) -> Iterator[Option]:
    for name, info in config_class.model_fields.items():
        default = given[name] if name in given else default_of(info)
        table, path = table_of(info), prefix + name
        if table is not None and (default is ... or isinstance(default, BaseModel)):
            inside = dict(default) if isinstance(default, BaseModel) else {}
            yield from _options(table, f"{path}.", inside)
        else:
            value = None if default is ... else plain(default)
            meaning = " ".join((info.description or "").split())
            kind = type_name(info.annotation)
            yield Option(path, kind, value, meaning, range_of(info), default is ...)


def changed(
    config: BaseModel | Mapping[str, Any], config_class: type[BaseModel]
) -> dict[str, tuple[object, object]]:
    """What differs from the defaults: `{path: (default, value)}`; a required field's is None.

    `config` may also be what a config.json holds.
    """
    data = config.model_dump(mode="json") if isinstance(config, BaseModel) else config
    defaults = {option.path: option.default for option in options(config_class)}
    values = _flat(data, "", defaults)
    return {
        path: (defaults.get(path), plain(value))
        for path, value in values.items()
        if path not in HEADER and defaults.get(path) != plain(value)
    }


def _flat(data: Mapping[str, Any], prefix: str, stop: Mapping[str, object]) -> dict[str, Any]:
    """Nested tables as one, with dotted paths; what `stop` names is not taken apart."""
    leaves: dict[str, Any] = {}
    for key, value in data.items():
        path = f"{prefix}{key}"
        if isinstance(value, Mapping) and path not in stop:
            leaves |= _flat(value, f"{path}.", stop)
        else:
            leaves[path] = value
    return leaves


def default_of(info: FieldInfo) -> Any:
    """The default of a field; `...` where it is required."""
    return ... if info.is_required() else info.get_default(call_default_factory=True)


def table_of(info: FieldInfo) -> type[BaseModel] | None:
    """The configuration class of a field that is a table, or a table or absent."""
    kinds = [kind for kind in alternatives(info.annotation) if kind is not NoneType]
    if len(kinds) == 1 and isinstance(kinds[0], type) and issubclass(kinds[0], BaseModel):
        return kinds[0]
    return None


def alternatives(annotation: Any) -> tuple[Any, ...]:
    """The members of a union; anything else is its own only one."""
    if get_origin(annotation) is Annotated:
        return alternatives(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return tuple(kind for one in get_args(annotation) for kind in alternatives(one))
    return (annotation,)


def choices(annotation: Any) -> tuple[str, ...]:
    """The values that a Literal or an enumeration allows."""
    found: list[Any] = []
    for kind in alternatives(annotation):
        if get_origin(kind) is Literal:
            found += get_args(kind)
        elif isinstance(kind, type) and issubclass(kind, Enum):
            found += [member.value for member in kind]
    return tuple(map(str, found))


BOUNDS = {
    "gt": "greater than {}",
    "ge": "at least {}",
    "lt": "less than {}",
    "le": "at most {}",
    "multiple_of": "a multiple of {}",
    "min_length": "of length {} or more",
    "max_length": "of length {} or less",
}


def range_of(info: FieldInfo) -> str:
    """The constraints of a field in words: "greater than 0 and at most 1"."""
    return " and ".join(
        text.format(getattr(constraint, key))
        for key, text in BOUNDS.items()
        for constraint in info.metadata
        if getattr(constraint, key, None) is not None
    )


def type_name(annotation: Any) -> str:
    """A type as a reader of `bioviz info` wants it: `float`, `clean|noisy`, `int or null`."""
    kinds = alternatives(annotation)
    if len(kinds) > 1:
        return " or ".join("null" if kind is NoneType else type_name(kind) for kind in kinds)
    (kind,) = kinds
    if allowed := choices(kind):
        return "|".join(allowed)
    name = str(getattr(get_origin(kind) or kind, "__name__", kind))
    inside = ", ".join("..." if one is ... else type_name(one) for one in get_args(kind))
    return f"{name}[{inside}]" if inside else {"ModelInput": "model"}.get(name, name)


def plain(value: Any) -> Any:
    """As JSON gives it back, so that a value from a file and one from code compare equal."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [plain(one) for one in value]
    if isinstance(value, Enum):
        return value.value
    return value if isinstance(value, str | int | float | NoneType) else str(value)
