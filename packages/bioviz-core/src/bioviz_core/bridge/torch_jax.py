"""A JAX function as a layer of a torch model, with trainable parameters.

layer = TorchFromJax(apply, params)      # an nn.Module
rates = layer(drive)                     # torch tensors in, torch tensors out

JAX differentiates, by the function's own `custom_vjp` where it has one, so that torch never sees
what happens inside. The two frameworks share memory through DLPack.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import Tensor, nn
from torch.autograd import Function
from torch.utils.dlpack import from_dlpack

TWICE = (
    "TorchFromJax has first derivatives only: JAX computed this gradient outside torch's graph. "
    "Differentiate twice in JAX, or drop create_graph=True"
)


class TorchFromJax(nn.Module):
    """`apply(params, *inputs)`, a pure JAX function, as an `nn.Module`.

    The floating-point leaves of `params` become `nn.Parameter`s named by their place in the tree,
    the others buffers. Forward and what backward needs of it are compiled once per shape; backward
    does not compute the forward pass again. Tensors stay on their device, which JAX must know too.

    Inputs are shared with JAX, not copied. What backward reads has left a jit, hence lies in
    buffers of its own, so that changing inputs, parameters or outputs in place does not reach it.
    float64 needs `with jax.enable_x64(True):`.
    """

    def __init__(self, apply: Callable[..., Any], params: Any) -> None:
        super().__init__()
        leaves, self._structure = jax.tree_util.tree_flatten_with_path(params)
        self._names: list[str] = []
        for path, leaf in leaves:
            name = jax.tree_util.keystr(path, simple=True, separator="_") or "params"
            tensor = from_dlpack(jnp.asarray(leaf)).clone()
            if tensor.is_floating_point():
                self.register_parameter(name, nn.Parameter(tensor))
            else:
                self.register_buffer(name, tensor)
            self._names.append(name)
        self._compiled = _Compiled(apply, self._structure)

    def forward(self, *inputs: Tensor) -> Any:
        """What `apply` answers, in its tree of outputs, as tensors."""
        own = [getattr(self, name) for name in self._names]
        tensors = [*own, *inputs]
        _check(tensors)
        if torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors):
            outputs = _Apply.apply(self._compiled, *tensors)
        else:
            outputs = map(from_dlpack, self._compiled.alone([*map(_to_jax, tensors)]))
        return jax.tree.unflatten(self._compiled.outputs, outputs)


class _Compiled:
    """The function under jit: alone, with what its backward pass needs, and that pass."""

    def __init__(self, apply: Callable[..., Any], structure: Any) -> None:
        self.structure = structure
        self.outputs: Any = None

        def run(leaves: Sequence[jax.Array]) -> list[jax.Array]:
            count = structure.num_leaves
            params = jax.tree.unflatten(structure, leaves[:count])
            found, self.outputs = jax.tree.flatten(apply(params, *leaves[count:]))
            return found

        def split(floats: list[Any], others: list[Any]) -> list[jax.Array]:
            return run([a if b is None else b for a, b in zip(floats, others, strict=True)])

        self.alone = jax.jit(run)
        # The pullback is a pytree of residuals, so it leaves jit and comes back as an argument.
        self.forward = jax.jit(lambda floats, others: jax.vjp(lambda f: split(f, others), floats))
        self.backward = jax.jit(lambda pullback, cotangents: pullback(cotangents)[0])


class _Apply(Function):
    @staticmethod
    def forward(ctx: Any, compiled: _Compiled, *tensors: Tensor) -> tuple[Tensor, ...]:
        arrays = [_to_jax(tensor) for tensor in tensors]
        is_float = [jnp.issubdtype(array.dtype, jnp.inexact) for array in arrays]
        floats = [a if f else None for a, f in zip(arrays, is_float, strict=True)]
        others = [None if f else a for a, f in zip(arrays, is_float, strict=True)]
        found, pullback = compiled.forward(floats, others)
        outputs = tuple(map(from_dlpack, found))
        ctx.mark_non_differentiable(*(x for x in outputs if not x.is_floating_point()))
        # Autograd may call backward in a thread of its own, where the context would be lost.
        shapes = [jax.typeof(array) for array in found]
        ctx.pulled = (compiled, pullback, shapes, is_float, _is_64())
        ctx.save_for_backward(*tensors)
        return outputs

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        slopes = _Pull.apply(ctx.pulled, len(cotangents), *cotangents, *ctx.saved_tensors)
        wanted = ctx.needs_input_grad[1:]
        return (None, *(s if w else None for s, w in zip(slopes, wanted, strict=True)))


class _Pull(Function):
    """The backward pass as a step of torch's graph, so that a second derivative meets an error."""

    @staticmethod
    def forward(ctx: Any, pulled: Any, count: int, *tensors: Tensor) -> tuple[Tensor | None, ...]:
        compiled, pullback, shapes, is_float, is_64 = pulled
        with jax.enable_x64(is_64):
            given = [
                _to_jax(tensor)
                if jnp.issubdtype(shape.dtype, jnp.inexact)
                else np.zeros(shape.shape, jax.dtypes.float0)
                for tensor, shape in zip(tensors[:count], shapes, strict=True)
            ]
            slopes = compiled.backward(pullback, given)
        return tuple(
            from_dlpack(slope) if f else None for slope, f in zip(slopes, is_float, strict=True)
        )

    @staticmethod
    def backward(ctx: Any, *cotangents: Tensor) -> tuple[Tensor | None, ...]:
        raise NotImplementedError(TWICE)


def _check(tensors: Sequence[Tensor]) -> None:
    """Refuse what JAX would narrow or cannot reach."""
    if any(t.dtype == torch.float64 for t in tensors) and not _is_64():
        raise TypeError(
            "a float64 tensor would be narrowed to float32: call the layer under "
            "`with jax.enable_x64(True):`, or pass tensor.float()"
        )
    for tensor in tensors:
        kind = tensor.device.type
        if kind != "cpu" and not _knows(kind):
            raise RuntimeError(
                f"a tensor is on {tensor.device}, and this JAX has no such device: move the tensor "
                "with .cpu(), or install jax[cuda12]"
            )
    if len({t.device for t in tensors}) > 1:
        places = ", ".join(sorted({str(t.device) for t in tensors}))
        raise RuntimeError(f"parameters and inputs are on {places}: move the layer with .to(...)")


def _knows(kind: str) -> bool:
    try:
        return bool(jax.devices(kind))
    except RuntimeError:
        return False


def _is_64() -> bool:
    return bool(jax.dtypes.canonicalize_dtype("float64") == jnp.dtype("float64"))


def _to_jax(tensor: Tensor) -> jax.Array:
    """The tensor's memory as a JAX array; exporting one that requires grad would be an error."""
    tensor = tensor.detach().resolve_conj().resolve_neg()
    if tensor.dtype == torch.int64 and not _is_64():
        tensor = tensor.to(torch.int32)
    array: jax.Array = jax.dlpack.from_dlpack(tensor.contiguous())
    return array
