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
from contextlib import contextmanager
from dataclasses import fields, is_dataclass
from importlib import import_module
from itertools import zip_longest
from pathlib import Path
from typing import Any, Final, cast

import numpy as np
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save

from bioviz_core.errors import CheckpointError
from bioviz_core.interfaces import Tree
from bioviz_core.lab import atomic
from bioviz_core.lab.leaves import export, framework_of, unpacked, widened

FORMAT = 1
ANY: Final = object()
"""In a template: whatever was stored there."""

Node = Any
"""A scalar, `{"array": dtype, "shape", "in"}`, or `{"is": kind, "of": [[key, node], ...]}`."""
Parts = dict[Any, Any]
Exported = dict[str, tuple[np.ndarray, str]]
Read = Callable[[str], np.ndarray]

_MAKE: Mapping[str, Callable[[Parts], Any]] = {
    "dict": dict,
    "list": lambda parts: list(parts.values()),
    "tuple": lambda parts: tuple(parts.values()),
}


def save_tree(path: Path, tree: Tree, *, extra: Mapping[str, Any] | None = None) -> None:
    """Write a tree and, in the header, the JSON in `extra`; the same tree gives the same bytes."""
    exported: Exported = {}
    header = {"format": FORMAT, "tree": encode(tree, "", exported), "extra": dict(extra or {})}
    arrays = {name: array for name, (array, _) in exported.items()}
    # One header key: safetensors writes several in no fixed order.
    atomic.write(path, save(arrays, metadata={"bioviz": json.dumps(header)}))


def load_tree(path: Path, like: Tree = ANY) -> Tree:
    """Read a tree; given a template, check structure, shapes and dtypes and refill its leaves."""
    with _opened(path) as (header, read):
        return rebuild(header["tree"], "", read, like)


def read_extra(path: Path) -> dict[str, Any]:
    """The `extra` of a file, without reading its arrays."""
    with _opened(path) as (header, _):
        return dict(header["extra"])


def not_a_number(tree: Tree) -> str | None:
    """The path of the first array that holds a NaN."""
    exported: Exported = {}
    encode(tree, "", exported)
    found = ((path, widened(array, name)) for path, (array, name) in exported.items())
    return next((path for path, a in found if a.dtype.kind in "fc" and np.isnan(a).any()), None)


def encode(value: Tree, path: str, exported: Exported) -> Node:
    """The structure of a tree as JSON; its arrays go to `exported`, by path."""
    if where := framework_of(value):
        exported[path] = export(value, path)
        return {"array": exported[path][1], "shape": list(value.shape), "in": where}
    if _is_scalar(value):
        return value
    kind, parts, _ = _apart(value, path)
    of = [[key, encode(part, path + _step(key), exported)] for key, part in parts.items()]
    return {"is": kind, "of": of}


def rebuild(node: Node, path: str, read: Read, like: Tree = ANY) -> Tree:
    """The tree of `encode`, refilled into `like`; `read` gives an array by path."""
    if not isinstance(node, dict) or "array" in node or framework_of(like) or _is_scalar(like):
        return _leaf(node, path, read, like)
    kind, likes = node["is"], {}
    if like is not ANY:
        name, parts, make = _apart(like, path)
        if kind != name:
            raise _misfit(node, f"a {name}", path)
        if (stored := dict(node["of"])).keys() != parts.keys():
            lacks = ", ".join(repr(key) for key in parts if key not in stored) or "nothing"
            beyond = ", ".join(repr(key) for key in stored if key not in parts) or "nothing"
            why = f"the file lacks {lacks} and has beyond the template {beyond}"
            raise CheckpointError(why, path=path)
        # A live object takes its state as a whole: a fresh optimiser has none to compare with.
        likes = {} if _is_live(like) else parts
    elif kind in _MAKE:
        make = _MAKE[kind]
    else:
        raise CheckpointError(f"a {kind} needs a template to come back: like=", path=path)
    parts = {k: rebuild(n, path + _step(k), read, likes.get(k, ANY)) for k, n in node["of"]}
    return make(parts)


def _apart(value: Any, path: str) -> tuple[str, Parts, Callable[[Parts], Any]]:
    """What a node is called, its parts by key, and how to make one like it of other parts."""
    name = type(value).__qualname__
    if isinstance(value, dict):
        for key in value:
            if isinstance(key, bool) or not isinstance(key, str | int):
                raise CheckpointError(f"the key {key!r} is neither text nor integer", path=path)
        return "dict", value, lambda parts: value | parts
    if isinstance(value, tuple) and hasattr(value, "_asdict"):
        return name, value._asdict(), lambda parts: type(value)(**parts)
    if isinstance(value, list | tuple):
        kind = "list" if isinstance(value, list) else "tuple"
        return kind, dict(enumerate(value)), lambda parts: type(value)(parts.values())
    if _is_model(value):
        return "model", {None: value.state_tree()}, lambda parts: value.with_state(parts[None])
    if _is_live(value):
        return name, {None: value.state_dict()}, lambda parts: _loaded(value, parts[None], path)
    if is_dataclass(value) and not isinstance(value, type):
        own = {field.name: getattr(value, field.name) for field in fields(value)}
        return name, own, lambda parts: _replaced(value, parts)
    holds = "arrays, JSON, tuples, dataclasses and objects with state_dict and load_state_dict"
    raise CheckpointError(f"a {name} cannot be stored: a tree holds {holds}", path=path)


def _is_scalar(value: object) -> bool:
    return value is None or isinstance(value, bool | int | float | str)


def _is_model(value: object) -> bool:
    return hasattr(value, "state_tree") and not isinstance(value, type)


def _is_live(value: object) -> bool:
    takes = hasattr(value, "state_dict") and hasattr(value, "load_state_dict")
    return takes and not isinstance(value, type) and not _is_model(value)


def _step(key: str | int | None) -> str:
    """A key as it continues a path; None is the one part of a model or live object."""
    plain = isinstance(key, str) and key.isidentifier()
    return "" if key is None else f".{key}" if plain else f"[{key!r}]"


def _replaced(value: Any, parts: Parts) -> Any:
    filled = copy.copy(value)
    for name, part in parts.items():
        # Frozen dataclasses are refilled too: the copy is nobody else's yet.
        object.__setattr__(filled, name, part)
    return filled


def _loaded(value: Any, state: Tree, path: str) -> Any:
    """Load, then compare what the object holds with the file: torch casts without a word."""
    name, stored = type(value).__qualname__, list(_leaves(encode(state, path, {}), path))
    try:
        value.load_state_dict(state)
    except Exception as error:  # any object's own complaint
        why = f"{name} does not take the stored state: {error}"
        raise CheckpointError(why, path=path) from error
    now = _leaves(encode(value.state_dict(), path, {}), path)
    for (_, ours), (place, theirs) in zip_longest(now, stored, fillvalue=(path, "nothing")):
        if ours != theirs:
            raise CheckpointError(f"the file has {theirs}, {name} made it {ours}", path=place)
    return value


def _leaf(node: Node, path: str, read: Read, like: Tree) -> Tree:
    """A scalar or an array, checked against the template and made an array of its framework."""
    is_array = isinstance(node, dict) and "array" in node
    if like is not ANY and not (_is_scalar(node) and _is_scalar(like)):
        # A number may be one that NumPy has since computed with.
        is_number = is_array and node["in"] == "scalar" and isinstance(like, int | float)
        mine = _said(encode(like, path, {}))
        if mine != _said(node) and not is_number:
            raise _misfit(node, mine, path)
    if not is_array:
        return node
    where, name = (framework_of(like) or node["in"]), node["array"]
    array = unpacked(read(path), name)
    if where in ("torch", "jax"):
        bridge = import_module(f"bioviz_core.bridge.{where}")
        return bridge.import_leaf(array, name, None if like is ANY else like)
    if array.dtype.name != name:
        raise CheckpointError(f"an array of {name} needs a template: like=", path=path)
    return array[()] if where == "scalar" else array


def _misfit(node: Node, wanted: str, path: str) -> CheckpointError:
    return CheckpointError(f"the file has {_said(node)}, the template {wanted}", path=path)


def _said(node: Node) -> str:
    if not isinstance(node, dict):
        return f"the value {node!r}"
    if "array" not in node:
        return f"a {node['is']}"
    where = node["in"].replace("scalar", "numpy")
    return f"{node['array']} {tuple(node['shape'])} of {where}"


def _leaves(node: Node, path: str) -> Iterator[tuple[str, str]]:
    """Path and description of every node, to compare two structures."""
    inner = node["of"] if isinstance(node, dict) and "is" in node else []
    yield path, _said(node) + f" of {len(inner)}" * bool(inner)
    for key, part in inner:
        yield from _leaves(part, path + _step(key))


@contextmanager
def _opened(path: Path) -> Iterator[tuple[dict[str, Any], Read]]:
    """A file's header, and a function that reads one array; `CheckpointError` where it is none."""
    try:
        file = cast(Any, safe_open(path, "numpy"))
        header = json.loads(file.metadata()["bioviz"])
        if header["format"] != FORMAT:
            raise ValueError(f"it has format {header['format']}, this is {FORMAT}")
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{path} is no checkpoint of bioviz: {error!r}") from error
    yield header, file.get_tensor
