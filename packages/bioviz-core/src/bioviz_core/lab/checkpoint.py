"""Trees to safetensors and back, without pickle.

A tree is nested dicts, lists and tuples of arrays and JSON scalars. Arrays become tensors of the
file, named by their path in the tree; the structure becomes JSON in its header. Named tuples,
dataclasses and live objects (a model, an optimiser) are stored as their content and need a template
`like` to come back into.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from bioviz_core.errors import CheckpointError
from bioviz_core.interfaces import Array, Tree
from bioviz_core.lab.atomic import no_room, replacing
from bioviz_core.lab.leaves import export, framework_of, to_float, unpacked

FORMAT = 1
ANY: Final = object()
"""In a template: whatever was stored there."""

Node = Any
Read = Callable[[str], np.ndarray]


def save_tree(path: Path, tree: Tree, *, extra: Mapping[str, Any] | None = None) -> None:
    """Write a tree and, in the header, the JSON in `extra`; the same tree gives the same bytes."""
    arrays: dict[str, np.ndarray] = {}
    header = {"format": FORMAT, "tree": encode(tree, "", arrays), "extra": dict(extra or {})}
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as temporary:
        try:
            # One header key: safetensors writes several in no fixed order.
            save_file(arrays, temporary, metadata={"bioviz": json.dumps(header)})
        except SafetensorError as error:
            raise no_room(path, error) from error


def load_tree(path: Path, like: Tree = ANY) -> Tree:
    """Read a tree; given a template, check structure, shapes and dtypes and refill its leaves."""
    with _opened(path) as (header, read):
        return _refill(like, header["tree"], "", read)


def read_extra(path: Path) -> dict[str, Any]:
    """The `extra` of a file, without reading its arrays."""
    with _opened(path) as (header, _):
        return dict(header["extra"])


def not_a_number(tree: Tree) -> str | None:
    """The path of the first array that holds a NaN."""
    arrays: dict[str, np.ndarray] = {}
    said = dict(_leaves(encode(tree, "", arrays), ""))
    for path, array in arrays.items():
        if said[path].startswith("bfloat16"):
            array = to_float(array)
        if array.dtype.kind == "f" and np.isnan(array).any():
            return path
    return None


# Writing


def encode(value: Tree, path: str, arrays: dict[str, np.ndarray]) -> Node:
    """The structure of a tree as JSON; its arrays go to `arrays`, by path."""

    def inside(pairs: Mapping[Any, Any]) -> list[list[Any]]:
        return [[key, encode(item, path + _step(key), arrays)] for key, item in pairs.items()]

    name = type(value).__qualname__
    if where := framework_of(value):
        array, dtype = export(value, path)
        arrays[path] = array
        return {"array": dtype, "shape": list(np.shape(value)), "in": where}
    if _is_scalar(value):
        return value
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise CheckpointError(f"the key {key!r} is neither text nor integer", path=path)
        return {"dict": inside(value)}
    if _is_named(value):
        return {"named": inside(value._asdict()), "type": name}
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return {kind: [item for _, item in inside(dict(enumerate(value)))]}
    if _is_live(value, "state_tree", "with_state"):
        return {"model": encode(value.state_tree(), path, arrays)}
    if _is_live(value, "state_dict", "load_state_dict"):
        return {"live": encode(value.state_dict(), path, arrays), "type": name}
    if is_dataclass(value) and not isinstance(value, type):
        return {"data": inside(_fields(value)), "type": name}
    raise CheckpointError(
        f"a {name} cannot be stored: a tree holds arrays, numbers, text, None, and dicts, lists, "
        "tuples, dataclasses or objects with state_dict and load_state_dict",
        path=path,
    )


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _is_named(value: Any) -> bool:
    return isinstance(value, tuple) and hasattr(value, "_fields")


def _is_live(value: object, give: str, take: str) -> bool:
    return not isinstance(value, type) and all(
        callable(getattr(value, name, None)) for name in (give, take)
    )


def _fields(value: Any) -> dict[str, Any]:
    return {field.name: getattr(value, field.name) for field in fields(value)}


def _step(key: str | int) -> str:
    plain = isinstance(key, str) and key.isidentifier()
    return f".{key}" if plain else f"[{key!r}]"


# Reading


class _opened:
    """A file's header, and a function that reads one array; `CheckpointError` where it is none."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __enter__(self) -> tuple[dict[str, Any], Read]:
        try:
            self.file = cast(Any, safe_open(self.path, "numpy"))
            header = json.loads(self.file.metadata()["bioviz"])
            if header["format"] != FORMAT:
                raise ValueError(f"it has format {header['format']}, this is {FORMAT}")
        except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(f"{self.path} is no checkpoint of bioviz: {error!r}") from error
        return header, self.file.get_tensor

    def __exit__(self, *error: object) -> None:
        del self.file


def _refill(like: Tree, node: Node, path: str, read: Read) -> Tree:
    if like is ANY:
        return rebuild(node, path, read)
    if framework_of(like) or _kind(node) == "array":
        return _refill_array(like, node, path, read)
    if _is_scalar(like):
        if _kind(node) != "scalar":
            raise _misfit(node, like, path)
        return node
    if isinstance(like, dict):
        filled: Any = copy.copy(like)
        filled.update(_refill_pairs(like, _content(node, "dict", like, path), path, read))
        return filled
    if _is_named(like):
        stored = _content(node, "named", like, path)
        return type(like)(**_refill_pairs(like._asdict(), stored, path, read))
    if isinstance(like, list | tuple):
        stored = _content(node, "list" if isinstance(like, list) else "tuple", like, path)
        pairs = [[i, item] for i, item in enumerate(stored)]
        return type(like)(_refill_pairs(dict(enumerate(like)), pairs, path, read).values())
    if _is_live(like, "state_tree", "with_state"):
        stored = _content(node, "model", like, path)
        return like.with_state(_refill(like.state_tree(), stored, path, read))
    if _is_live(like, "state_dict", "load_state_dict"):
        return _refill_live(like, _content(node, "live", like, path), path, read)
    if is_dataclass(like):
        stored, filled = _content(node, "data", like, path), copy.copy(like)
        for key, value in _refill_pairs(_fields(like), stored, path, read).items():
            # Frozen dataclasses are refilled too: the copy is nobody else's yet.
            object.__setattr__(filled, key, value)
        return filled
    raise CheckpointError(f"a {type(like).__name__} cannot be a template", path=path)


def _refill_pairs(like: Mapping[Any, Any], pairs: Any, path: str, read: Read) -> dict[Any, Any]:
    stored = dict(map(tuple, pairs))
    if stored.keys() != like.keys():
        absent = [repr(key) for key in like if key not in stored]
        extra = [repr(key) for key in stored if key not in like]
        found = [f"lacks {', '.join(absent)}"] * bool(absent)
        found += [f"has beyond the template {', '.join(extra)}"] * bool(extra)
        raise CheckpointError(f"the file {' and '.join(found)}", path=path)
    return {key: _refill(like[key], stored[key], path + _step(key), read) for key in like}


def _refill_array(like: Array, node: Node, path: str, read: Read) -> Array:
    where = framework_of(like)
    if where is None and isinstance(like, int | float) and node["in"] == "scalar":
        return rebuild(node, path, read)  # a number that NumPy has since computed with
    if where is None or _said(node) != _word(like):
        raise _misfit(node, like, path)
    if where in ("numpy", "scalar"):
        return rebuild(node | {"in": where}, path, read)
    value = unpacked(read(path), node["array"])
    bridge = import_module(f"bioviz_core.bridge.{where}")
    return bridge.import_leaf(value, node["array"], like)


def _refill_live(like: Any, stored: Node, path: str, read: Read) -> Any:
    """Load, then compare what the object holds with the file: torch casts without a word."""
    name = type(like).__qualname__
    try:
        like.load_state_dict(rebuild(stored, path, read))
    except Exception as error:  # any object's own complaint
        why = f"{name} does not take the stored state: {error}"
        raise CheckpointError(why, path=path) from error
    now = _leaves(encode(like.state_dict(), path, {}), path)
    for ours, theirs in zip_longest(now, _leaves(stored, path)):
        if ours != theirs:
            place = (theirs or ours or (path,))[0]
            have, got = (pair[1] if pair else "nothing" for pair in (theirs, ours))
            raise CheckpointError(f"the file has {have}, {name} made it {got}", path=place)
    return like


def rebuild(node: Node, path: str, read: Read) -> Tree:
    """The tree of `encode`; `read` gives an array by path."""
    kind = _kind(node)
    if kind == "scalar":
        return node
    if kind == "array":
        name = node["array"]
        value = unpacked(read(path), name)
        if node["in"] == "torch":
            return import_module("bioviz_core.bridge.torch").import_leaf(value, name, None)
        if value.dtype.name != name:
            raise CheckpointError(f"an array of {name} needs a template: like=", path=path)
        return value[()] if node["in"] == "scalar" else value
    if kind == "dict":
        return {key: rebuild(item, path + _step(key), read) for key, item in node["dict"]}
    if kind in ("list", "tuple"):
        items = [rebuild(item, path + _step(i), read) for i, item in enumerate(node[kind])]
        return items if kind == "list" else tuple(items)
    raise CheckpointError(
        f"a {node.get('type', 'model')} needs a template to come back: like=", path=path
    )


def _kind(node: Node) -> str:
    return next(iter(node)) if isinstance(node, dict) else "scalar"


def _said(node: Node) -> str:
    kind = _kind(node)
    if kind == "array":
        where = node["in"].replace("scalar", "numpy")
        return f"{node['array']} {tuple(node['shape'])} of {where}"
    return f"the value {node!r}" if kind == "scalar" else f"a {node.get('type', kind)}"


def _word(like: object) -> str:
    if framework_of(like) or _is_scalar(like):
        return _said(encode(like, "", {}))
    return f"a {type(like).__qualname__}"


def _misfit(node: Node, like: object, path: str) -> CheckpointError:
    return CheckpointError(f"the file has {_said(node)}, the template {_word(like)}", path=path)


def _content(node: Node, kind: str, like: object, path: str) -> Any:
    if _kind(node) != kind or node.get("type", type(like).__qualname__) != type(like).__qualname__:
        raise _misfit(node, like, path)
    return node[kind]


def _leaves(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """Path and description of every leaf, to compare two structures."""
    kind = _kind(node)
    if kind in ("scalar", "array"):
        yield path, _said(node)
        return
    content = node[kind]
    if kind in ("model", "live"):
        yield from _leaves(content, path)
        return
    pairs = enumerate(content) if kind in ("list", "tuple") else content
    yield path, f"a {kind} of {len(content)}"
    for key, item in pairs:
        yield from _leaves(item, path + _step(key))
