"""Every stimulus that core registers, by its name, through the checks that strangers run."""

from __future__ import annotations

import os
from functools import cache
from pathlib import Path
from typing import Any

import bioviz_core as bv
import numpy as np
import pytest
from bioviz_core.testing import cases, stimuli
from bioviz_core.testing.tasks import Case
from PIL import Image

ARCHIVES = ("mnist", "fashion-mnist", "cifar10", "ecssd", "oxford-pets", "bsds")
SMALL: dict[str, dict[str, Any]] = {
    "cifar10": {"part": "test", "limit": 20},
    "ecssd": {"size": 32}, "oxford-pets": {"size": 32}, "bsds": {"size": 32},
    "glyphs": {"count": 12}, "multi-glyphs": {"count": 12}, "textured-figures": {"count": 12},
    "schematic-faces": {"count": 12}, "photographs": {"size": 32},
}  # fmt: skip
NAMES = [ref.name.removeprefix("core/") for ref in bv.list("stimulus", "core/*")]
CHECKS = {n: c for n, c in cases.CHECKS["stimulus"].items() if n != "check_stimulus_processes"}


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    for number in range(4):
        Image.new("RGB", (40, 30), (60 * number, 9, 200)).save(folder / f"{number}.png")
    return folder


@cache
def made(name: str, folder: Path) -> Any:
    options = {"path": folder, "size": 16} if name == "folder" else SMALL.get(name, {})
    return bv.create(f"core/{name}", kind="stimulus", **options)


def test_every_archive_is_registered() -> None:
    assert set(ARCHIVES) < set(NAMES)


@pytest.mark.parametrize("check", CHECKS.values(), ids=CHECKS)
@pytest.mark.parametrize("name", NAMES)
def test_batches_are_pure_and_hold_what_their_fields_say(
    name: str, check: Any, images: Path
) -> None:
    if name in ARCHIVES and "BIOVIZ_DATA" not in os.environ:
        pytest.skip("BIOVIZ_DATA names no folder of data sets")
    check(Case(name, lambda: made(name, images)))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_may_be_empty_and_repeat_an_index(name: str, images: Path) -> None:
    if name in ARCHIVES and "BIOVIZ_DATA" not in os.environ:
        pytest.skip("BIOVIZ_DATA names no folder of data sets")
    source = made(name, images)
    assert all(len(value) == 0 for value in source.batch([]).values())
    twice = source.batch([3, 3])
    assert all(np.array_equal(*value) for value in twice.values())


@pytest.mark.slow
def test_generated_stimuli_are_the_same_in_another_process() -> None:
    for name in ("core/gratings", "core/textured-figures", "core/schematic-faces"):
        stimuli.check_stimulus_processes(Case(name))
