"""Every public name of a package stays what it is, whatever was imported before."""

from __future__ import annotations

import pkgutil
from importlib import import_module

import pytest


@pytest.mark.parametrize("name", ["core", "butd", "hopfield", "fastweights", "nrf", "ssn"])
def test_no_submodule_hides_a_public_name(name: str) -> None:
    package = import_module(f"bioviz_{name}")
    modules = {module.name for module in pkgutil.iter_modules(package.__path__)}
    assert not modules & set(package._PUBLIC)
