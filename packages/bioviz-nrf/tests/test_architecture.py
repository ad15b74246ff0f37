"""Descriptions of fields."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from bioviz_nrf import ArchitectureError, architectures, load_architecture


def tree(**change: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        "name": "toy",
        "base_channels": 2,
        "layers": [{"shape": [1, 4, 4]}, {"shape": [2, 4, 4]}],
        "fields": {
            "0": {"main_kernel": 3, "from": {"1": {"conv": 3}}},
            "1": {"from": {"0": "fc"}},
        },
    }
    return found | change


def test_every_shipped_architecture_loads_under_its_own_name() -> None:
    assert "digits-2l" in architectures()
    for name in architectures():
        assert load_architecture(name).name == name


def test_a_file_and_a_mapping_say_the_same(tmp_path: Path) -> None:
    path = tmp_path / "toy.toml"
    path.write_text(
        'name = "toy"\nbase_channels = 2\nlayers = [{shape = [1, 4, 4]}, {shape = [2, 4, 4]}]\n'
        "[fields]\n0 = {main_kernel = 3, from = {1 = {conv = 3}}}\n1 = {from = {0 = 'fc'}}\n"
    )
    assert load_architecture(path) == load_architecture(tree())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fields": {"0": {"from": {"1": "fc"}}}}, r"fields are \[0\]"),
        ({"growth": 8}, "unknown keys growth"),
        ({"base_channels": 0}, "base_channels must be at least 1"),
        ({"activation": "tanh"}, "activation 'tanh'"),
        ({"domain": {"low": 1, "high": -1}}, "must be below high"),
        ({"domain": {"kind": "ball"}}, "must be 'box'"),
        ({"layers": [{"shape": [1, 4, 4]}, {"shape": [2, 0, 4]}]}, "layer 1: the shape"),
    ],
)
def test_what_does_not_hold_is_named(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArchitectureError, match=message):
        load_architecture(tree(**change))


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ({"from": {}}, "field 0: from is empty"),
        ({"main_kernel": 3, "from": {"7": {"conv": 3}}}, r"field 0: from names the layers \[7\]"),
        ({"main_kernel": 3, "from": {"1": {"conv": 4}}}, "from.1.conv must be odd"),
        ({"main_kernel": 3, "from": {"1": {"conv": 0}}}, "from.1.conv must be odd"),
        ({"main_kernel": 2, "from": {"1": {"conv": 3}}}, "main_kernel must be odd"),
        ({"from": {"1": {"conv": 3}}}, "main_kernel must be odd"),
        ({"main_kernel": 3, "from": {"1": "fc"}}, "has nothing to convolve"),
        ({"main_kernel": 3, "from": {"1": {"convt": 3}}}, "must be 'fc' or"),
        ({"from": {"1": "fc"}, "dense_layers": 2}, "unknown keys dense_layers"),
    ],
)
def test_what_a_field_lacks_is_named(entry: dict[str, Any], message: str) -> None:
    fields = tree()["fields"] | {"0": entry}
    with pytest.raises(ArchitectureError, match=message):
        load_architecture(tree(fields=fields))


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(ArchitectureError, match="digits-2l"):
        load_architecture("cifar-9l")
