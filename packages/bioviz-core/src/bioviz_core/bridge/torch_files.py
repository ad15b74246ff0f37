"""Tensors to and from files: leaves of a checkpoint, and weights that a user brings."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bioviz_core.errors import CheckpointError, MissingDependencyError


def export_leaf(leaf: Tensor) -> tuple[np.ndarray, str]:
    """A tensor as `(array, dtype name)` for a checkpoint; NumPy has bfloat16 only as uint16."""
    tensor = leaf.detach().cpu().contiguous()
    name = str(tensor.dtype).removeprefix("torch.")
    if tensor.dtype == torch.bfloat16:
        tensor = tensor.view(torch.uint16)
    try:
        return tensor.numpy(), name
    except TypeError as error:
        raise CheckpointError(f"a tensor of {name} cannot be stored: convert it first") from error


def import_leaf(array: np.ndarray, dtype: str, like: Tensor | None = None) -> Tensor:
    """The tensor of `export_leaf`, on the device of `like`, whose dtype and shape it must have."""
    tensor = torch.from_numpy(np.array(array))
    if dtype == "bfloat16":
        tensor = tensor.view(torch.bfloat16)
    if like is None:
        return tensor
    check_like(tensor, like)
    return tensor.to(like.device).requires_grad_(like.requires_grad)


def check_like(given: Tensor, like: Tensor, *, path: str = "") -> None:
    """`CheckpointError` where the shapes or dtypes differ: nothing is cast silently."""
    if (given.shape, given.dtype) != (like.shape, like.dtype):
        needed, found = (f"{tuple(t.shape)} {t.dtype}" for t in (like, given))
        raise CheckpointError(f"needs {needed}, got {found}", path=path)


def open_checkpoint(path: str | Path) -> dict[str, Tensor]:
    """A user's weights by name, from safetensors or a `.pth` of tensors alone; on the CPU.

    Nothing in the file is executed. A `.pth` that holds a dict under `state_dict` or `model` gives
    that one; timm's reader opens it, and has to be installed. Raises `CheckpointError`.
    """
    try:
        found = _open(Path(path))
    except MissingDependencyError:
        raise
    except Exception as error:  # a file from outside fails in a dozen ways; the cause is kept
        raise CheckpointError(
            f"{path} is no file of weights ({type(error).__name__}): it must be safetensors, or a "
            ".pth that holds tensors only"
        ) from error
    weights = {str(n): v for n, v in found.items() if isinstance(v, Tensor)}
    if not weights:
        raise CheckpointError(f"{path} holds no tensors")
    return weights


def _open(path: Path) -> Mapping[str, Any]:
    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    if not find_spec("timm"):
        raise MissingDependencyError(f"opening {path.suffix} files needs timm: pip install timm")
    from timm.models import load_state_dict

    return load_state_dict(str(path), weights_only=True)
