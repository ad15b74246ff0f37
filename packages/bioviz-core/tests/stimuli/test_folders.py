from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from bioviz_core.errors import DataError
from bioviz_core.stimuli.folders import folder, read_image, to_square
from bioviz_core.stimuli.sources import column
from PIL import Image


def save(path: Path, level: int, *, size: tuple[int, int] = (6, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


def test_flat_images_come_in_natural_order_each_its_own_label(tmp_path: Path) -> None:
    for number in (10, 2, 1):
        save(tmp_path / f"i{number}.png", number)
    (tmp_path / "notes.txt").touch()
    source = folder(tmp_path, size=4)
    found = source.batch([0, 1, 2])
    np.testing.assert_allclose(found["inputs"][:, 0, 0, 0] * 255, [1, 2, 10], rtol=1e-5)
    assert found["labels"].tolist() == [0, 1, 2]
    assert found["inputs"].shape == (3, 3, 4, 4)


def test_sub_folders_are_classes(tmp_path: Path) -> None:
    for name in ("cats/a.png", "cats/b.png", "dogs/a.bmp"):
        save(tmp_path / name, 5)
    assert column(folder(tmp_path, size=4), "labels").tolist() == [0, 0, 1]


def test_masks_are_found_by_stem_and_missing_ones_do_not_count(tmp_path: Path) -> None:
    for name in ("a", "b", "c", "d"):
        save(tmp_path / f"images/{name}.jpg", 100)
    half = np.zeros((6, 6), np.uint8)
    half[:, 3:] = 200
    for name in ("a", "b_mask", "mask_c"):
        (tmp_path / "masks").mkdir(exist_ok=True)
        Image.fromarray(half).save(tmp_path / f"masks/{name}.png")
    found = folder(tmp_path / "images", size=6, masks=tmp_path / "masks").batch(range(4))
    assert found["masks"][0, 0].tolist() == [0, 0, 0, 1, 1, 1]
    assert found["masks"].sum((1, 2)).tolist() == [18, 18, 18, 0]
    assert found["mask"].all((1, 2)).tolist() == [True, True, True, False]
    with pytest.raises(DataError, match="a mask of none of the images"):
        folder(tmp_path / "images", masks=tmp_path)


def test_a_jpeg_mask_is_taken_with_a_warning(tmp_path: Path) -> None:
    save(tmp_path / "images/a.png", 9)
    save(tmp_path / "masks/a.jpg", 255)
    with pytest.warns(UserWarning, match="edges are blurred"):
        source = folder(tmp_path / "images", size=6, masks=tmp_path / "masks")
    assert column(source, "masks").all()


def test_transparency_lies_on_white_and_grey_has_three_channels(tmp_path: Path) -> None:
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_image(tmp_path / "clear.png") == 255).all()
    Image.new("L", (4, 4), 77).save(tmp_path / "grey.png")
    assert (read_image(tmp_path / "grey.png") == 77).all()
    assert read_image(tmp_path / "grey.png").shape == (3, 4, 4)


def test_sixteen_bits_are_scaled(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 4), 32896, np.uint16)).save(tmp_path / "deep.png")
    assert (read_image(tmp_path / "deep.png") == 128).all()


def test_the_cameras_orientation_is_followed(tmp_path: Path) -> None:
    pixels = np.zeros((4, 8, 3), np.uint8)
    pixels[:, :4] = 255
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a right angle
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = read_image(tmp_path / "turned.png")
    assert image.shape == (3, 8, 4)
    assert (image[:, :4] == 255).all()
    assert (image[:, 4:] == 0).all()


def test_the_square_is_the_centre_and_masks_stay_binary() -> None:
    wide = np.zeros((1, 4, 8), np.uint8)
    wide[:, :, 2:6] = 255
    assert (to_square(wide, 4) == 255).all()
    assert set(np.unique(to_square(wide, 3, nearest=True))) <= {0, 255}


def test_a_folder_without_images_and_a_broken_file_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no image"):
        folder(tmp_path)
    with pytest.raises(DataError, match="is no folder"):
        folder(tmp_path / "absent")
    (tmp_path / "bad.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"bad.png cannot be read as an image"):
        folder(tmp_path)
