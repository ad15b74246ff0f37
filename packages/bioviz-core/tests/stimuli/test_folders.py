from __future__ import annotations

from pathlib import Path

import numpy as np
from bioviz_core.stimuli.folders import read_image, to_square
from PIL import Image


def save(path: Path, level: int, *, size: tuple[int, int] = (6, 6)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (level, level, level)).save(path)


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
