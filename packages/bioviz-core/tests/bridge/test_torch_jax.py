from __future__ import annotations

import gc
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from bioviz_core.bridge.torch_jax import TorchFromJax


@pytest.fixture
def x64() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


solved: list[int] = []


@jax.custom_vjp
def root(a: jax.Array) -> jax.Array:
    """The square root by Newton's method, with its implicit derivative."""
    jax.debug.callback(lambda: solved.append(1))
    return jax.lax.fori_loop(0, 40, lambda _, x: (x + a / x) / 2, jnp.ones_like(a))


root.defvjp(lambda a: (root(a), root(a)), lambda x, g: (g / (2 * x),))


def apply(params: dict[str, Any], x: jax.Array) -> jax.Array:
    return root(1 + jnp.square(x @ params["w"] + params["b"]))


def params(dtype: Any = np.float32) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    return {"w": rng.normal(size=(3, 2)).astype(dtype), "b": np.zeros(2, dtype)}


def test_parameters_are_named_by_their_place_and_trained_by_torch() -> None:
    layer = TorchFromJax(apply, params())
    assert {name for name, _ in layer.named_parameters()} == {"w", "b"}
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    x = torch.ones(4, 3)
    losses = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = layer(x).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0]


def test_outputs_and_gradients_are_those_of_jax() -> None:
    layer = TorchFromJax(apply, params())
    x = torch.linspace(-1, 1, 12).reshape(4, 3).requires_grad_()
    out = layer(x)
    out.sum().backward()
    own = jax.grad(lambda p, x: apply(p, x).sum(), argnums=(0, 1))(
        params(), jnp.asarray(x.detach())
    )
    np.testing.assert_allclose(out.detach(), apply(params(), x.detach().numpy()), rtol=1e-6)
    np.testing.assert_allclose(layer.w.grad, own[0]["w"], rtol=1e-5)
    assert x.grad is not None
    np.testing.assert_allclose(x.grad, own[1], rtol=1e-5)


def test_gradcheck_passes_in_float64(x64: None) -> None:
    layer = TorchFromJax(apply, params(np.float64))
    x = torch.randn(4, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert torch.autograd.gradcheck(layer, (x.requires_grad_(),))
    weight = layer.w.detach().clone().requires_grad_()

    def in_weight(w: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(layer, {"w": w}, (x.detach(),))

    assert torch.autograd.gradcheck(in_weight, (weight,))


def test_backward_does_not_solve_again() -> None:
    layer = TorchFromJax(apply, params())
    out = layer(torch.ones(4, 3)).sum()
    jax.effects_barrier()
    before = len(solved)
    out.backward()
    jax.effects_barrier()
    assert len(solved) == before > 0


def test_a_thousand_calls_of_one_shape_compile_once_and_keep_nothing() -> None:
    layer = TorchFromJax(apply, params())
    compiled = layer._compiled

    def call(batch: int) -> None:
        layer(torch.ones(batch, 3)).sum().backward()
        with torch.no_grad():
            layer(torch.ones(batch, 3))

    call(4)
    gc.collect()
    alive = len(jax.live_arrays())
    for _ in range(1000):
        call(4)
    stages = (compiled.alone, compiled.forward, compiled.backward)
    assert [stage._cache_size() for stage in stages] == [1, 1, 1]
    gc.collect()
    assert len(jax.live_arrays()) <= alive
    call(5)
    assert [stage._cache_size() for stage in stages] == [2, 2, 2]


@pytest.mark.parametrize("changed", ["input", "parameter", "output"])
def test_changes_in_place_before_backward_do_not_reach_the_residuals(changed: str) -> None:
    def slope(*, disturb: bool) -> torch.Tensor:
        layer = TorchFromJax(apply, params())
        x = torch.ones(4, 3)
        out = layer(x)
        loss = out.sum()
        if disturb:
            {"input": x, "parameter": layer.w, "output": out}[changed].data.mul_(3)
        loss.backward()
        assert layer.w.grad is not None
        return layer.w.grad

    torch.testing.assert_close(slope(disturb=True), slope(disturb=False), rtol=0, atol=0)


def test_the_hazard_is_real_outside_jit() -> None:
    x = torch.ones(4, 3)
    shared = jax.dlpack.from_dlpack(x)
    x.mul_(3)
    assert float(shared[0, 0]) == 3


def test_a_second_derivative_is_refused() -> None:
    layer = TorchFromJax(apply, params())
    x = torch.ones(4, 3, requires_grad=True)
    (slope,) = torch.autograd.grad(layer(x).sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="first derivatives only"):
        slope.sum().backward()


def test_float64_is_refused_rather_than_narrowed() -> None:
    layer = TorchFromJax(apply, params())
    with pytest.raises(TypeError, match="enable_x64"):
        layer(torch.ones(4, 3, dtype=torch.float64))


def test_backward_keeps_float64_outside_the_context() -> None:
    with jax.enable_x64(True):
        layer = TorchFromJax(apply, params(np.float64))
        loss = layer(torch.ones(4, 3, dtype=torch.float64)).sum()
    loss.backward()
    assert layer.w.grad is not None
    assert layer.w.grad.dtype == torch.float64


def test_inputs_that_require_grad_or_are_not_contiguous_are_taken() -> None:
    layer = TorchFromJax(apply, params())
    base = torch.arange(12.0).reshape(3, 4).requires_grad_()
    out = layer(base.T)
    torch.testing.assert_close(out, layer(base.T.contiguous()))
    out.sum().backward()
    assert base.grad is not None


def test_inputs_and_outputs_are_not_copied_on_the_cpu() -> None:
    layer = TorchFromJax(lambda p, x: 2 * x, {"w": np.zeros(1, np.float32)})
    given: list[jax.Array] = []
    made: list[jax.Array] = []
    alone = layer._compiled.alone

    def watched(arrays: list[jax.Array]) -> list[jax.Array]:
        given.extend(arrays)
        made.extend(alone(arrays))
        return made

    layer._compiled.alone = watched  # type: ignore[assignment]  # a spy
    x = torch.zeros(1024)
    with torch.no_grad():
        out = layer(x)
    assert given[-1].unsafe_buffer_pointer() == x.data_ptr()
    assert made[0].unsafe_buffer_pointer() == out.data_ptr()


def test_trees_of_outputs_and_integer_leaves_are_legal() -> None:
    def several(p: dict[str, Any], x: jax.Array, k: jax.Array) -> dict[str, Any]:
        return {"sum": (x * p["w"]).sum(), "index": k + p["n"]}

    layer = TorchFromJax(several, {"w": np.ones(3, np.float32), "n": np.array([2])})
    assert [name for name, _ in layer.named_buffers()] == ["n"]
    out = layer(torch.arange(3.0), torch.tensor([5]))
    assert out["index"].tolist() == [7]
    assert not out["index"].requires_grad
    out["sum"].backward()
    assert layer.w.grad is not None
    assert layer.w.grad.tolist() == [0, 1, 2]


@pytest.mark.gpu
def test_a_device_that_jax_lacks_is_named() -> None:
    layer = TorchFromJax(apply, params()).cuda()
    with pytest.raises(RuntimeError, match=r"\.cpu\(\)"):
        layer(torch.ones(4, 3, device="cuda"))
