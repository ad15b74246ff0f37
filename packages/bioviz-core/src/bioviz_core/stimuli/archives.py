"""Readers of the data sets under the folder that `BIOVIZ_DATA` names; nothing downloads.

| reader | file |
|---|---|
| `mnist`, `fashion_mnist` | `MNIST/raw/*.gz`, `FashionMNIST/raw/*.gz`: idx, as published |
| `cifar10` | `cifar10/*.npz`: JPEG scans behind one shared header, or exact pixels |
| `ecssd`, `oxford_pets` | `masks/*.zip`: photographs with the mask of their object |
| `bsds`, `bsds_photographs` | `natural/*.zip`: photographs with human contours |

The pictures of ECSSD and BSDS are for research only: score on them, publish none.
"""

from __future__ import annotations

import gzip
import os
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Literal

import numpy as np

from bioviz_core.errors import DataError
from bioviz_core.stimuli.folders import read_image, to_square
from bioviz_core.stimuli.sources import ArraySource, check_choice

VARIABLE = "BIOVIZ_DATA"
Part = Literal["train", "test"]


def data_folder() -> Path | None:
    """The folder that `BIOVIZ_DATA` names; None where it is unset."""
    named = os.environ.get(VARIABLE)
    return Path(named) if named else None


def mnist(part: Part = "train") -> ArraySource:
    """Handwritten digits, 28 x 28 grey: 60,000 to train, 10,000 to test."""
    return _idx_pair("MNIST", part)


def fashion_mnist(part: Part = "train") -> ArraySource:
    """Clothes, 28 x 28 grey, ten classes: 60,000 to train, 10,000 to test."""
    return _idx_pair("FashionMNIST", part)


def cifar10(
    part: Literal["train", "test", "lossless"] = "train", *, limit: int | None = None
) -> ArraySource:
    """Ten classes of objects, 32 x 32 in colour, the first `limit` of them.

    "train" (46,000) and "test" (5,000) are JPEG-compressed: quote results as "CIFAR-10 (JPEG)".
    "lossless" are 4,000 exact images of the training part that "train" does not have.
    """
    names = {"train": "jpeg_train", "test": "jpeg_test", "lossless": "lossless_4k"}
    check_choice("part", part, tuple(names))
    path = _file(f"cifar10/cifar10_{names[part]}.npz")
    with _reading(path), path.open("rb") as file, np.load(file, allow_pickle=False) as found:
        labels = found["labels"][:limit]
        if part == "lossless":
            images = found["images"][:limit].transpose(0, 3, 1, 2)
        else:
            header, scans, ends = found["header"].tobytes(), found["scans"], found["offsets"]
            pairs = pairwise(ends[: len(labels) + 1])
            images = np.stack([read_image(header + scans[a:b].tobytes()) for a, b in pairs])
    return ArraySource(inputs=images, labels=labels, classes=10)


def ecssd(size: int = 224) -> ArraySource:
    """120 photographs with the mask of their salient object: `masks`, 1 on the object.

    The central square of each at `size` pixels. Research use only.
    """
    images, masks = _pairs("masks/ecssd_120.zip", "masks", size)
    return ArraySource(inputs=images, masks=(masks > 127).astype(np.uint8))


def oxford_pets(size: int = 224) -> ArraySource:
    """16 cats and dogs with `masks`, 1 on the animal; `mask` is False in the band left out.

    CC BY-SA 4.0. The central square of each at `size` pixels.
    """
    images, trimaps = _pairs("masks/oxford_pets_16.zip", "trimaps", size)
    return ArraySource(inputs=images, masks=(trimaps == 255).astype(np.uint8), mask=trimaps != 128)


def bsds(size: int = 256) -> ArraySource:
    """60 natural photographs with `boundaries`, the share of people who drew a contour there.

    The central square of each at `size` pixels, at most 321 without enlarging. Research use only.
    """
    images, boundaries = _pairs("natural/bsds_train_60.zip", "boundaries", size)
    return ArraySource(inputs=images, boundaries=boundaries.astype(np.float32) / 255)


def bsds_photographs() -> list[np.ndarray]:
    """The 60 photographs in full, uint8 `(3, 321, 481)` or upright, to cut `patches` from."""
    path = _file("natural/bsds_train_60.zip")
    with _reading(path), zipfile.ZipFile(path) as archive:
        return [read_image(archive.read(name)) for name in _images(archive)]


def read_idx(path: Path) -> np.ndarray:
    """The array of a gzipped idx file of unsigned bytes.

    The header is two zero bytes, the type byte 8, the number of dimensions, and the sizes as
    big-endian 32-bit integers. Raises `DataError` for any other, and for a file cut short.
    """
    with _reading(path), gzip.open(path) as file:
        content = file.read()
        if content[:3] != b"\x00\x00\x08":
            raise ValueError(
                f"it starts with {content[:4].hex(' ')}, an idx file of bytes 00 00 08"
            )
        start = 4 + 4 * content[3]
        shape = np.frombuffer(content[4:start], ">u4").tolist()
        return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def _idx_pair(folder: str, part: str) -> ArraySource:
    check_choice("part", part, ("train", "test"))
    prefix = "train" if part == "train" else "t10k"
    images = read_idx(_file(f"{folder}/raw/{prefix}-images-idx3-ubyte.gz"))
    labels = read_idx(_file(f"{folder}/raw/{prefix}-labels-idx1-ubyte.gz"))
    return ArraySource(inputs=images[:, None], labels=labels, classes=10)


def _pairs(name: str, kind: str, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Images `(n, 3, size, size)` and maps `(n, size, size)` of one zip, by name."""
    path = _file(name)
    with _reading(path), zipfile.ZipFile(path) as archive:
        names = _images(archive)
        images = [to_square(read_image(archive.read(name)), size) for name in names]
        maps = [archive.read(f"{kind}/{Path(name).stem}.png") for name in names]
        squares = [to_square(read_image(m, mode="L"), size, nearest=True)[0] for m in maps]
    return np.stack(images), np.stack(squares)


def _images(archive: zipfile.ZipFile) -> list[str]:
    return sorted(name for name in archive.namelist() if name.startswith("images/"))


def _file(name: str) -> Path:
    folder = data_folder()
    if folder is None or not (folder / name).is_file():
        raise DataError(
            f"{name} is looked for under the folder that {VARIABLE} names, "
            f"{'which is not set' if folder is None else f'and is not in {folder}'}: "
            f"export {VARIABLE}=/path/to/data"
        )
    return folder / name


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """What a damaged archive raises, as a `DataError` that names the file."""
    try:
        yield
    except (OSError, EOFError, KeyError, ValueError, zipfile.BadZipFile) as error:
        raise DataError(
            f"{path} cannot be read: {error}. It is damaged or cut short: copy it again"
        ) from error
