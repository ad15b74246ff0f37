"""What a configuration class offers: its options by dotted path, and how a value differs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, RootModel
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python


@dataclass(frozen=True, slots=True)
class Option:
    """One leaf of a configuration: its dotted path, type, default and help text."""

    path: str
    type: str
    default: object
    meaning: str = ""
    required: bool = False


def options(config_class: type[BaseModel]) -> list[Option]:
    """Every option in order of declaration, nested ones by dotted path, defaults as JSON values."""
    return list(_options(config_class, "", {}))


def _options(table: type[BaseModel], above: str, given: Mapping[str, Any]) -> Iterator[Option]:
    """`given` is what the default of the table itself says, in place of its fields' defaults."""
    for name, info in table.model_fields.items():
        path, inner = f"{above}{name}", table_of(info)
        required = info.is_required() and name not in given
        default = given.get(name, None if required else info.get_default(call_default_factory=True))
        if inner and (required or isinstance(default, BaseModel)):
            yield from _options(inner, f"{path}.", dict(default or {}))
        else:
            meaning = " ".join((info.description or "").split())
            yield Option(path, type_name(info.annotation), plain(default), meaning, required)


def changed(
    config: BaseModel | Mapping[str, Any], config_class: type[BaseModel]
) -> dict[str, tuple[object, object]]:
    """What differs from the defaults: `{path: (default, value)}`; a required field's is None.

    `config` may also be what a config.json holds.
    """
    data, found = plain(config), {}
    for option in options(config_class):
        value = data
        for part in option.path.split("."):
            value = value.get(part) if isinstance(value, Mapping) else None
        if value != option.default:
            found[option.path] = (option.default, value)
    return found


def table_of(info: FieldInfo) -> type[BaseModel] | None:
    """The configuration class of a field that is a table, or a table or absent."""
    is_union = get_origin(info.annotation) in (Union, UnionType)
    kinds = {*(get_args(info.annotation) if is_union else [info.annotation])} - {NoneType}
    kind = kinds.pop() if len(kinds) == 1 else None
    if isinstance(kind, type) and issubclass(kind, BaseModel) and not issubclass(kind, RootModel):
        return kind
    return None


def type_name(annotation: Any) -> str:
    """A type as a reader of `bioviz info` wants it: `float`, `clean|noisy`, `int | None`."""
    kind, inside = get_origin(annotation), get_args(annotation)
    if isinstance(annotation, str):
        return annotation
    if kind is Annotated:
        return type_name(inside[0])
    if kind is Literal:
        return "|".join(map(str, inside))
    if kind in (Union, UnionType):
        return " | ".join(map(type_name, inside))
    name = {NoneType: "None", ...: "..."}.get(annotation) or (kind or annotation).__name__
    return f"{name}[{', '.join(map(type_name, inside))}]" if inside else str(name)


def plain(value: Any) -> Any:
    """As JSON gives it back, so that a value from a file and one from code compare equal."""
    return to_jsonable_python(value, fallback=str)
