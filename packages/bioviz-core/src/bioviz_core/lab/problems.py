"""What pydantic refuses, told as a path, the value, what it must be, and who set it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from difflib import get_close_matches
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from bioviz_core.errors import Problem
from bioviz_core.lab.options import (
    BOUNDS,
    alternatives,
    choices,
    options,
    plain,
    range_of,
    table_of,
)

_KINDS = {
    "int": "an integer",
    "float": "a number",
    "bool": "true or false",
    "string": "a string",
    "list": "a list",
    "tuple": "a list",
    "set": "a list",
    "dict": "a table",
    "model": "a table",
    "none": "null",
}


def problems(
    config_class: type[BaseModel], errors: Sequence[Any], source: Callable[[str], str | None]
) -> list[Problem]:
    """One problem per path, in the order of the fields; `source` tells who set a path."""
    by_path: dict[str, list[Any]] = {}
    for error in errors:
        by_path.setdefault(path_of(config_class, error["loc"]), []).append(error)
    return [_problem(config_class, path, found, source) for path, found in by_path.items()]


def _problem(
    config_class: type[BaseModel],
    path: str,
    errors: Sequence[Any],
    source_of: Callable[[str], str | None],
) -> Problem:
    # A key that one branch of a union forbids may be wrong in another branch for a better reason.
    errors = [e for e in errors if e["type"] != "extra_forbidden"] or errors
    error, source = errors[0], source_of(path)
    if error["type"] == "missing":
        return Problem(path, "required, and nothing gives it", source)
    if error["type"] == "extra_forbidden":
        return Problem(path or "''", "unknown key", source, _close_paths(config_class, path))
    if error["type"] in ("value_error", "assertion_error"):
        said = str(error.get("ctx", {}).get("error", error["msg"]))
        return Problem(path or "configuration", said, source)
    info = _field(config_class, path)
    close: list[str] = []
    if info is not None and isinstance(error["input"], str):
        close = get_close_matches(error["input"], choices(info.annotation), n=1)
    rules = dict.fromkeys(_rule(one, info) for one in errors)
    message = f"{_show(error['input'])} must be {' or '.join(rules)}"
    return Problem(path or "configuration", message, source, tuple(close))


def _rule(error: Any, info: FieldInfo | None) -> str:
    """What the value must be."""
    kind, about = str(error["type"]), error.get("ctx", {})
    if kind in ("literal_error", "enum"):
        return f"one of {about['expected']}"
    if kind == "finite_number":
        return " and ".join(filter(None, ["finite", range_of(info) if info else ""]))
    if kind.startswith("union_tag"):
        return f"a table whose {about['discriminator']} is {about.get('expected_tags', 'given')}"
    if kind.startswith(("greater", "less", "multiple", "too_", "string_too")):
        asked = [text.format(_short(about[key])) for key, text in BOUNDS.items() if key in about]
        return (info and range_of(info)) or " and ".join(asked)
    word, _, rest = kind.partition("_")
    if word in _KINDS and rest.startswith(("type", "parsing", "from", "required")):
        return _KINDS[word]
    return _after_should(str(error["msg"]))


def _short(bound: Any) -> Any:
    """0 for 0.0, which pydantic makes of a bound that was written 0."""
    return int(bound) if isinstance(bound, float) and bound.is_integer() else bound


def _after_should(message: str) -> str:
    """Pydantic's own words for the rarer rules, without their opening."""
    for opening in ("Input should be ", "Value should be "):
        if message.startswith(opening):
            return message.removeprefix(opening)
    return f"acceptable: {message[:1].lower()}{message[1:]}"


def _close_paths(config_class: type[BaseModel], path: str) -> tuple[str, ...]:
    """Known paths that an unknown one may mean: spelt alike, or of the same last name."""
    leaves = [option.path.split(".") for option in options(config_class)]
    known = dict.fromkeys(".".join(p[:end]) for p in leaves for end in range(1, len(p) + 1))
    table, _, leaf = path.rpartition(".")
    siblings = {one.rpartition(".")[2]: one for one in known if one.rpartition(".")[0] == table}
    same_name = [one for one in known if one.rpartition(".")[2] == leaf]
    alike = [siblings[one] for one in get_close_matches(leaf, siblings, n=1)]
    return tuple(alike or same_name[:2] or get_close_matches(path, known, n=1))


def path_of(config_class: type[BaseModel], location: Sequence[str | int]) -> str:
    """The dotted path of an error, without the branch of a union, which pydantic also names."""
    parts: list[str] = []
    here: type[BaseModel] | None = config_class
    info: FieldInfo | None = None
    for part in location:
        if here is not None and part in here.model_fields:
            info = here.model_fields[str(part)]
            here = table_of(info)
        elif info is not None and here is None and _is_branch(str(part), info.annotation):
            continue
        parts.append(str(part))
    return ".".join(parts)


def _is_branch(part: str, annotation: Any) -> bool:
    kinds = alternatives(annotation)
    names = {getattr(get_origin(kind) or kind, "__name__", "") for kind in kinds}
    literals = {f"literal[{','.join(map(repr, get_args(kind)))}]" for kind in kinds}
    tables = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
    tags = {
        tag
        for table in tables
        for i in table.model_fields.values()
        for tag in choices(i.annotation)
    }
    # The last form is that of "tuple[int, ...]" and "function-after[check(), float]".
    return len(kinds) > 1 and (part in names | literals | tags or part.endswith("]"))


def _field(config_class: type[BaseModel], path: str) -> FieldInfo | None:
    here: type[BaseModel] | None = config_class
    info = None
    for part in path.split("."):
        if here is None:
            return None  # An item of a list or table: the field's own range is not its range.
        if part not in here.model_fields:
            return None
        info = here.model_fields[part]
        here = table_of(info)
    return info


def _show(value: Any) -> str:
    shown = plain(value)
    text = repr(shown) if isinstance(shown, str) else str(shown)
    return text if len(text) <= 60 else f"{text[:57]}..."
