from __future__ import annotations

import gzip
import os
import struct
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from bioviz_core.errors import DataError
from bioviz_core.stimuli.archives import (
    bsds,
    bsds_photographs,
    cifar10,
    ecssd,
    fashion_mnist,
    mnist,
    oxford_pets,
    read_idx,
)
from bioviz_core.stimuli.sources import column
from PIL import Image

needs_data = pytest.mark.skipif(
    "BIOVIZ_DATA" not in os.environ, reason="BIOVIZ_DATA names no folder of data sets"
)


def write_idx(path: Path, array: np.ndarray, *, kind: int = 8, cut: int = 0) -> None:
    header = bytes([0, 0, kind, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content[: len(content) - cut]))


def image_bytes(array: np.ndarray, kind: str) -> bytes:
    buffer = BytesIO()
    Image.fromarray(array).save(buffer, kind)
    return buffer.getvalue()


def write_zip(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in members.items():
            archive.writestr(name, content)


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BIOVIZ_DATA", str(tmp_path))
    return tmp_path


def test_idx_round_trips(tmp_path: Path) -> None:
    array = np.random.default_rng(0).integers(256, size=(5, 3, 4))
    write_idx(tmp_path / "a.gz", array)
    np.testing.assert_array_equal(read_idx(tmp_path / "a.gz"), array)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: write_idx(p, np.zeros((2, 3)), kind=9), "starts with 00 00 09 02"),
        (lambda p: write_idx(p, np.zeros((2, 3)), cut=1), r"array of size 5 into shape \(2,3\)"),
        (lambda p: p.write_bytes(b"not gzip at all"), "cannot be read"),
        (lambda p: p.write_bytes(gzip.compress(bytes(100))[:-12]), "cannot be read"),
        (lambda p: p.write_bytes(gzip.compress(b"")), "it starts with , an idx file"),
    ],
)
def test_a_damaged_idx_file_is_named_with_its_fault(
    tmp_path: Path, damage: Callable[[Path], None], message: str
) -> None:
    damage(tmp_path / "a.gz")
    with pytest.raises(DataError, match=message) as caught:
        read_idx(tmp_path / "a.gz")
    assert "a.gz" in str(caught.value)


def test_mnist_pairs_images_and_labels(root: Path) -> None:
    images = np.arange(3 * 28 * 28).reshape(3, 28, 28) % 256
    write_idx(root / "MNIST/raw/t10k-images-idx3-ubyte.gz", images)
    write_idx(root / "MNIST/raw/t10k-labels-idx1-ubyte.gz", np.array([3, 0, 1]))
    source = mnist("test")
    assert source.fields["inputs"].shape == (1, 28, 28)
    assert source.fields["labels"].classes == 10
    np.testing.assert_allclose(source.batch([1])["inputs"][0, 0], images[1] / 255, rtol=1e-6)
    assert column(source, "labels").tolist() == [3, 0, 1]
    with pytest.raises(DataError, match=r"FashionMNIST/raw/train-images.* is not in "):
        fashion_mnist()
    with pytest.raises(ValueError, match="part"):
        mnist("dev")


def test_cifar_reads_scans_behind_one_header(root: Path) -> None:
    rng = np.random.default_rng(0)
    pictures = rng.integers(256, size=(3, 32, 32, 3)).astype(np.uint8)
    files = [image_bytes(picture, "JPEG") for picture in pictures]
    start = next(i for i, b in enumerate(zip(*files, strict=False)) if len(set(b)) > 1)
    scans = [np.frombuffer(file[start:], np.uint8) for file in files]
    (root / "cifar10").mkdir()
    np.savez(
        root / "cifar10/cifar10_jpeg_test.npz",
        header=np.frombuffer(files[0][:start], np.uint8),
        scans=np.concatenate(scans),
        offsets=np.cumsum([0, *map(len, scans)]),
        labels=np.array([4, 9, 0], np.uint8),
    )
    source = cifar10("test")
    for index, file in enumerate(files):
        expected = np.asarray(Image.open(BytesIO(file))).transpose(2, 0, 1) / 255
        np.testing.assert_allclose(source.batch([index])["inputs"][0], expected, rtol=1e-6)
    assert len(cifar10("test", limit=2)) == 2
    np.savez(root / "cifar10/cifar10_lossless_4k.npz", images=pictures, labels=[1, 2, 3])
    exact = cifar10("lossless").batch([2])
    np.testing.assert_allclose(exact["inputs"][0], pictures[2].transpose(2, 0, 1) / 255, rtol=1e-6)
    assert exact["labels"].tolist() == [3]
    with pytest.raises(ValueError, match="part"):
        cifar10("dev")


def test_a_cut_npz_is_named(root: Path) -> None:
    (root / "cifar10").mkdir()
    path = root / "cifar10/cifar10_lossless_4k.npz"
    np.savez(path, images=np.zeros((2, 32, 32, 3), np.uint8), labels=np.zeros(2))
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match=r"cifar10_lossless_4k.npz cannot be read"):
        cifar10("lossless")


def test_masks_pair_by_name_and_pets_leave_a_band_out(root: Path) -> None:
    picture = np.zeros((8, 12, 3), np.uint8)
    picture[:, 6:] = 255
    mask = np.zeros((8, 12), np.uint8)
    mask[:, 6:], mask[:, 5] = 255, 128
    members = {
        "images/b.jpg": image_bytes(picture, "JPEG"),
        "images/a.jpg": image_bytes(picture[:, ::-1], "JPEG"),
    }
    for kind in ("trimaps", "masks"):
        members |= {
            f"{kind}/b.png": image_bytes(mask, "PNG"),
            f"{kind}/a.png": image_bytes(np.ascontiguousarray(mask[:, ::-1]), "PNG"),
        }
    for name in ("ecssd_120", "oxford_pets_16"):
        write_zip(root / f"masks/{name}.zip", members)
    pets = oxford_pets(size=8).batch([0, 1])
    assert pets["inputs"].shape == (2, 3, 8, 8)
    assert pets["masks"].shape == pets["mask"].shape == (2, 8, 8)
    assert pets["masks"][1, 0].tolist() == [0, 0, 0, 0, 1, 1, 1, 1]
    assert pets["masks"][0, 0].tolist() == [1, 1, 1, 1, 0, 0, 0, 0]
    assert pets["mask"][1, 0].tolist() == [True] * 3 + [False] + [True] * 4
    assert pets["inputs"][1, 0, 0, -1] > 0.9
    assert set(np.unique(ecssd(size=8).batch([0])["masks"])) == {0, 1}


def test_a_zip_without_the_mask_of_an_image_is_named(root: Path) -> None:
    write_zip(root / "masks/ecssd_120.zip", {"images/a.jpg": image_bytes(np.eye(4) > 0, "PNG")})
    with pytest.raises(DataError, match=r"ecssd_120\.zip cannot be read"):
        ecssd()


def test_an_unset_or_wrong_variable_says_so(monkeypatch, tmp_path: Path) -> None:
    monkeypatch.delenv("BIOVIZ_DATA", raising=False)
    with pytest.raises(DataError, match="export BIOVIZ_DATA="):
        mnist()
    monkeypatch.setenv("BIOVIZ_DATA", str(tmp_path / "absent"))
    with pytest.raises(DataError, match=r"ecssd_120\.zip .* is not in .*absent"):
        ecssd()


@needs_data
@pytest.mark.slow
def test_the_published_sets_have_their_counts() -> None:
    digits, clothes = mnist("train"), fashion_mnist("test")
    assert np.bincount(column(digits, "labels"))[:3].tolist() == [5923, 6742, 5958]
    assert np.bincount(column(clothes, "labels")).tolist() == [1000] * 10
    assert column(cifar10("lossless"), "labels")[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert np.bincount(column(cifar10("test", limit=None), "labels")).tolist() == [500] * 10


@needs_data
def test_masks_and_photographs_are_what_their_readme_says() -> None:
    pets, scenes = oxford_pets(), ecssd()
    assert (len(pets), len(scenes), len(bsds(64))) == (16, 120, 60)
    assert 0.2 < column(pets, "masks").mean() < 0.5
    assert 0.2 < column(scenes, "masks").mean() < 0.5
    assert {photograph.shape for photograph in bsds_photographs()} == {(3, 321, 481), (3, 481, 321)}
