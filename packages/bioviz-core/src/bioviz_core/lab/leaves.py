"""Arrays of any framework, told apart and turned into NumPy without importing a framework."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

import numpy as np

from bioviz_core.errors import CheckpointError
from bioviz_core.interfaces import Array, Tree


def framework_of(value: object) -> str | None:
    """Whose array this is, told without importing a framework."""
    if isinstance(value, np.generic | np.ndarray):
        return "numpy" if isinstance(value, np.ndarray) else "scalar"
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        roots = {base.__module__.partition(".")[0] for base in type(value).__mro__}
        return "torch" if "torch" in roots else "jax" if roots & {"jax", "jaxlib"} else None
    return None


def arrays_of(tree: Tree) -> Iterator[Array]:
    """The arrays in nested dicts, lists and tuples."""
    if framework_of(tree):
        yield tree
    elif isinstance(tree, dict | list | tuple):
        for item in tree.values() if isinstance(tree, dict) else tree:
            yield from arrays_of(item)


def to_numpy(value: Array) -> np.ndarray:
    """An array of any framework as NumPy, bfloat16 widened to float32."""
    array, name = export(value)
    return widened(array, name)


def export(value: Array, path: str = "") -> tuple[np.ndarray, str]:
    """An array that safetensors knows, and the name of the true dtype."""
    try:
        if (where := framework_of(value)) in ("torch", "jax"):
            array, name = import_module(f"bioviz_core.bridge.{where}").export_leaf(value)
        else:
            array = np.asarray(value)
            name = array.dtype.name
        # safetensors writes memory as it lies, so it must lie in C order and native byte order.
        array = np.asarray(array, order="C", dtype=array.dtype.newbyteorder("="))
        if array.dtype.kind == "c":
            array = array[..., None].view(array.real.dtype)
        elif array.dtype.kind == "V":  # the dtypes of ml_dtypes, as JAX has them
            array = array.view(f"u{array.dtype.itemsize}")
        if array.dtype.kind not in "biuf" or array.dtype.itemsize > 8:
            raise TypeError(f"safetensors has no {name}")
    except (TypeError, ValueError, CheckpointError) as error:
        what = type(value).__name__
        raise CheckpointError(f"a {what} cannot be stored: {error}", path=path) from error
    return array, name


def unpacked(array: np.ndarray, name: str) -> np.ndarray:
    """What `export` gave, as `name` where NumPy has that dtype."""
    return array.view(name)[..., 0] if name.startswith("complex") else array


def widened(array: np.ndarray, name: str) -> np.ndarray:
    """What `export` gave, bfloat16 as float32."""
    if name == "bfloat16":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return unpacked(array, name)
