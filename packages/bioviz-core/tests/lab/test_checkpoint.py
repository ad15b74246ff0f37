from __future__ import annotations

import subprocess
import sys
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from bioviz_core.errors import CheckpointError
from bioviz_core.lab import checkpoint
from bioviz_core.lab.checkpoint import ANY, load_tree, read_extra, save_tree
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

DTYPES = ["bool", "int8", "uint16", "int64", "float16", "float32", "float64"]
DTYPES += ["complex64", "complex128"]
LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.text()
    | st.sampled_from(DTYPES).flatmap(lambda d: hnp.arrays(d, hnp.array_shapes(min_dims=0)))
)  # fmt: skip
TREES = st.recursive(
    LEAVES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner, inner)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=3)
    ),
    max_leaves=8,
)


class Pair(NamedTuple):
    mean: Any
    count: Any


@dataclass(frozen=True, slots=True)
class Trace:
    value: Any
    rate: float


class Store:
    """A live object that, like torch, casts what it is given."""

    def __init__(self, size: int = 3, dtype: str = "float32") -> None:
        self.items = np.zeros(size, dtype)

    def state_dict(self) -> dict[str, Any]:
        return {"items": self.items}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.items[:] = state["items"]


def same(one: Any, two: Any) -> bool:
    if isinstance(one, np.ndarray | np.generic):
        return (
            type(one) is type(two) and one.dtype == two.dtype and one.shape == two.shape
            and np.asarray(one).tobytes() == np.asarray(two).tobytes()
        )  # fmt: skip
    if isinstance(one, dict):
        return list(one) == list(two) and all(same(one[k], two[k]) for k in one)
    if isinstance(one, list | tuple):
        return type(one) is type(two) and len(one) == len(two) and all(map(same, one, two))
    return type(one) is type(two) and repr(one) == repr(two)


def back(tmp_path: Path, tree: Any, like: Any = ANY) -> Any:
    save_tree(tmp_path / "t.safetensors", tree)
    return load_tree(tmp_path / "t.safetensors", like)


@given(tree=TREES)
def test_a_tree_comes_back_as_it_was(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    folder = tmp_path_factory.mktemp("trees")
    assert same(back(folder, tree), tree)
    assert same(back(folder, tree, like=tree), tree)


def test_the_same_tree_gives_the_same_bytes(tmp_path: Path) -> None:
    tree = {str(i): np.arange(i) for i in range(20)}
    for name in "ab":
        save_tree(tmp_path / name, tree, extra={"x": 1, "y": [2]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert read_extra(tmp_path / "a") == {"x": 1, "y": [2]}


def test_memory_order_does_not_matter(tmp_path: Path) -> None:
    array = np.arange(6.0).reshape(2, 3)
    for odd in (array.T, array[:, ::-1], array.astype(">f8")):
        np.testing.assert_array_equal(back(tmp_path, [odd])[0], odd)


def test_named_tuples_dataclasses_and_live_objects_come_back_into_a_template(
    tmp_path: Path,
) -> None:
    store = Store()
    store.items += 2
    tree = {"pair": Pair(np.ones(2), 3), "trace": Trace(np.ones(1), 0.5), "store": store}
    like = {"pair": Pair(np.zeros(2), 0), "trace": Trace(np.zeros(1), 0.0), "store": Store()}
    found = back(tmp_path, tree, like)
    assert isinstance(found["pair"], Pair)
    assert found["pair"].count == 3
    assert isinstance(found["trace"], Trace)
    assert found["trace"].rate == 0.5
    assert like["trace"].rate == 0.0
    assert found["store"] is like["store"]
    np.testing.assert_array_equal(found["store"].items, 2)
    for name, thing in tree.items():
        with pytest.raises(CheckpointError, match=f"^.{name}: .*needs a template"):
            back(tmp_path, {name: thing})


def test_any_in_a_template_takes_whatever_was_stored(tmp_path: Path) -> None:
    memo = {"offset": 4.0, "answers": (True, False), 7: np.arange(2)}
    found = back(tmp_path, {"w": np.ones(2), "memo": memo}, {"w": np.zeros(2), "memo": ANY})
    assert same(found["memo"], memo)


def test_a_number_may_have_become_numpys(tmp_path: Path) -> None:
    found = back(tmp_path, {"trace": np.float64(0.5)}, {"trace": 0.0})
    assert isinstance(found["trace"], np.float64)


@pytest.mark.parametrize(
    ("stored", "like", "message"),
    [
        ([{"w": np.ones(3)}], [{"w": np.ones(2)}],
         r"[0].w: the file has float64 (3,) of numpy, the template float64 (2,) of numpy"),
        ({"w": np.ones(3)}, {"w": np.ones(3, np.float32)}, ".w: the file has float64 (3,)"),
        ({"w": np.ones(3)}, {"w": 1.0}, ".w: the file has float64 (3,)"),
        ({"w": 1.0}, {"w": np.ones(3)}, ".w: the file has the value 1.0, the template float64"),
        ({"w": [1]}, {"w": (1,)}, ".w: the file has a list, the template a tuple"),
        ({"w": [1, 2]}, {"w": [1]}, ".w: the file lacks nothing and has beyond the template 1"),
        ({"w": {"a": 1}}, {"w": {"b": 1}}, ".w: the file lacks 'b' and has beyond the template"),
        ({"w": {0: 1}}, {"w": {"0": 1}}, ".w: the file lacks '0'"),
        ({"p": Pair(1, 2)}, {"p": Trace(1, 2.0)}, ".p: the file has a Pair, the template a Trace"),
        ({"p": Trace(1, 2.0)}, {"p": None}, ".p: the file has a Trace, the template the value"),
        ({"s": Store(3)}, {"s": Store(4)}, ".s: Store does not take"),
        ({"s": Store(3)}, {"s": Store(3, "float16")}, ".s.items: the file has float32"),
    ],
)  # fmt: skip
def test_a_misfit_names_the_place_in_the_tree(
    tmp_path: Path, stored: Any, like: Any, message: str
) -> None:
    if "does not take" in message:
        like["s"].items = np.zeros((2, 2), np.float32)
    with pytest.raises(CheckpointError) as caught:
        back(tmp_path, stored, like)
    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    "leaf", [object(), {1, 2}, b"bytes", np.array(["a"]), np.array([None]), lambda: 0, Pair]
)
def test_what_cannot_be_stored_is_refused_with_its_place(tmp_path: Path, leaf: Any) -> None:
    with pytest.raises(CheckpointError, match=r"^\.state\[1\]: .* cannot be stored"):
        save_tree(tmp_path / "t", {"state": [0, leaf]})
    assert list(tmp_path.iterdir()) == []


def test_a_key_must_be_text_or_integer(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"the key 1\.5 is neither"):
        save_tree(tmp_path / "t", {1.5: 0})


@pytest.mark.parametrize("content", [b"", b"no checkpoint", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(CheckpointError, match="is no checkpoint of bioviz"):
        load_tree(tmp_path / "t")


FULL = """
import resource, sys
from pathlib import Path
import numpy as np
from bioviz_core.errors import BiovizError
from bioviz_core.lab.checkpoint import save_tree
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
file = Path(sys.argv[1])
save_tree(file, np.zeros(10))
try:
    save_tree(file, np.ones(1000))
except BiovizError as error:
    print(error)
"""


def test_a_full_disk_leaves_the_last_checkpoint(tmp_path: Path) -> None:
    file = tmp_path / "t.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", FULL, file], capture_output=True, text=True, check=True
    )
    assert "no room on the disk" in done.stdout
    np.testing.assert_array_equal(load_tree(file), np.zeros(10))
    assert list(tmp_path.iterdir()) == [file]


def test_a_nan_is_found_by_its_path() -> None:
    assert checkpoint.not_a_number({"a": np.ones(2), "b": [np.array([np.inf])]}) is None
    assert checkpoint.not_a_number({"a": [np.array([1, np.nan])]}) == ".a[0]"


# torch and JAX


OPTIMIZERS = {
    "SGD": {"lr": 0.1, "momentum": 0.9}, "Adam": {"lr": 0.1, "amsgrad": True},
    "AdamW": {"lr": 0.1}, "RMSprop": {"lr": 0.1, "centered": True}, "NAdam": {"lr": 0.1},
}  # fmt: skip


def torch_net(seed: int, optimizer: str, dtype: str = "float32") -> tuple[Any, Any]:
    import torch
    from bioviz_core.bridge.torch import as_model

    torch.manual_seed(seed)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    net.to(getattr(torch, dtype))
    return as_model(net), getattr(torch.optim, optimizer)(net.parameters(), **OPTIMIZERS[optimizer])


def torch_steps(model: Any, optimizer: Any, steps: range) -> None:
    import torch

    dtype = next(model.parameters()).dtype
    for step in steps:
        torch.manual_seed(step)
        optimizer.zero_grad()
        model(torch.randn(5, 3, dtype=dtype)).square().mean().backward()
        optimizer.step()


@pytest.mark.parametrize(
    ("optimizer", "dtype"),
    [*((name, "float32") for name in OPTIMIZERS), ("SGD", "bfloat16"), ("AdamW", "bfloat16")],
)
def test_a_torch_optimizer_comes_back_to_the_bit(
    tmp_path: Path, optimizer: str, dtype: str
) -> None:
    import torch

    straight, its = torch_net(0, optimizer, dtype)
    torch_steps(straight, its, range(6))
    first, state = torch_net(0, optimizer, dtype)
    torch_steps(first, state, range(3))
    save_tree(tmp_path / "t", {"model": first, "rule": {"opt": state, "count": 3}})
    model, fresh = torch_net(1, optimizer, dtype)
    found = load_tree(tmp_path / "t", {"model": model, "rule": {"opt": fresh, "count": 0}})
    assert found["rule"]["opt"] is fresh
    torch_steps(found["model"], found["rule"]["opt"], range(3, 6))
    for one, two in zip(straight.parameters(), model.parameters(), strict=True):
        assert one.dtype == two.dtype
        assert torch.equal(one, two)


@pytest.mark.parametrize(
    ("other", "place"),
    [(("SGD", "float32"), ".rule: the file has a Adam, the template a SGD"),
     (("Adam", "float64"), ".rule.state[0].exp_avg: the file has float32")],
)  # fmt: skip
def test_another_optimizer_or_dtype_is_refused(
    tmp_path: Path, other: tuple[str, str], place: str
) -> None:
    model, optimizer = torch_net(0, "Adam")
    torch_steps(model, optimizer, range(1))
    save_tree(tmp_path / "t", {"rule": optimizer})
    with pytest.raises(CheckpointError) as caught:
        load_tree(tmp_path / "t", {"rule": torch_net(0, *other)[1]})
    assert str(caught.value).startswith(place)


def test_a_state_that_torch_rounds_on_loading_is_refused(tmp_path: Path) -> None:
    # NAdam keeps a float32 product beside bfloat16 weights; loading makes it bfloat16.
    model, optimizer = torch_net(0, "NAdam", "bfloat16")
    torch_steps(model, optimizer, range(1))
    save_tree(tmp_path / "t", {"rule": optimizer})
    with pytest.raises(CheckpointError, match=r"mu_product: the file has float32 .* bfloat16"):
        load_tree(tmp_path / "t", {"rule": torch_net(0, "NAdam", "bfloat16")[1]})


def test_a_models_misfit_names_the_weight(tmp_path: Path) -> None:
    model, _ = torch_net(0, "SGD")
    wide, _ = torch_net(0, "SGD", "float64")
    save_tree(tmp_path / "t", {"model": model})
    with pytest.raises(CheckpointError, match=r"^\.model\['module.0.weight'\]: .*float64"):
        load_tree(tmp_path / "t", {"model": wide})


def test_a_nan_in_bfloat16_is_found() -> None:
    import torch

    tree = {"w": torch.tensor([1.0, float("nan")], dtype=torch.bfloat16)}
    assert checkpoint.not_a_number(tree) == ".w"
    tree = {"w": torch.tensor([1.0, float("-inf")], dtype=torch.bfloat16)}
    assert checkpoint.not_a_number(tree) is None


def test_an_ordered_dict_of_tensors_keeps_its_type(tmp_path: Path) -> None:
    import torch

    tree = OrderedDict(a=torch.ones(2))
    found = back(tmp_path, tree, OrderedDict(a=torch.zeros(2)))
    assert isinstance(found, OrderedDict)
    assert torch.equal(found["a"], tree["a"])


@pytest.mark.parametrize("name", ["adam", "sgd", "adafactor", "lion", "rmsprop"])
def test_an_optax_state_comes_back_to_the_bit(tmp_path: Path, name: str) -> None:
    jax, jnp, optax = (pytest.importorskip(m) for m in ("jax", "jax.numpy", "optax"))
    transform = getattr(optax, name)(1e-2)
    params = {"w": jnp.arange(6.0).reshape(2, 3), "b": jnp.ones(3, jnp.bfloat16)}
    fresh = transform.init(params)
    _, state = transform.update(jax.tree.map(jnp.ones_like, params), fresh, params)
    found = back(tmp_path, {"rule": state, "params": params}, {"rule": fresh, "params": params})
    assert jax.tree.structure(found["rule"]) == jax.tree.structure(state)
    for one, two in zip(*map(jax.tree.leaves, (found, {"rule": state, "params": params})),
                        strict=True):  # fmt: skip
        assert isinstance(one, jax.Array)
        assert one.dtype == two.dtype
        assert np.asarray(one).tobytes() == np.asarray(two).tobytes()


@pytest.mark.parametrize("kind", ["threefry2x32", "rbg"])
def test_a_typed_jax_key_comes_back_of_its_kind_and_into_no_other(
    tmp_path: Path, kind: str
) -> None:
    jax = pytest.importorskip("jax")
    key = jax.random.key(7, impl=kind)
    assert back(tmp_path, {"key": key}, {"key": jax.random.key(0, impl=kind)})["key"] == key
    with pytest.raises(CheckpointError, match=r"^\.key: "):
        load_tree(tmp_path / "t.safetensors", {"key": jax.random.key(0, impl="unsafe_rbg")})
