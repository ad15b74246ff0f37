"""Images and masks from folders of ordinary files, and the reading that archives share.

Images are uint8 `(channels, height, width)` until a source gives them. The camera's orientation
note is followed, grey becomes three channels, transparency lies on white, 16 bits become 8.
"""

from __future__ import annotations

import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from bioviz_core.errors import DataError
from bioviz_core.stimuli.sources import ArraySource

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def folder(path: str | Path, *, size: int = 224, masks: str | Path | None = None) -> ArraySource:
    """The images of a folder in natural order, the central square of each at `size` pixels.

    One sub-folder per class gives its name's place as label, else each image is its own. `masks`
    is a folder with `x.png`, `x_mask.png` or `mask_x.png` for each `x.jpg`: `masks` in the batch is
    1 where the file passes half its range, and `mask` is False throughout images that have none.
    """
    files = _images_in(Path(path), "*")
    labels = list(range(len(files)))
    if not files:
        files = _images_in(Path(path), "*/*")
        classes = list(dict.fromkeys(file.parent for file in files))
        labels = [classes.index(file.parent) for file in files]
    if not files:
        raise DataError(f"{path} holds no image: {', '.join(SUFFIXES)}")
    images = np.stack([to_square(read_image(file), size) for file in files])
    if masks is None:
        return ArraySource(inputs=images, labels=labels)
    pairs = [_mask_of(file, Path(masks)) for file in files]
    if not any(pairs):
        raise DataError(f"{masks} holds a mask of none of the images, such as {files[0].stem}.png")
    shown = np.zeros((len(files), size, size), np.uint8)
    for place, mask in enumerate(pairs):
        if mask is not None:
            shown[place] = to_square(read_image(mask, mode="L"), size, nearest=True)[0] > 127
    known = np.broadcast_to(np.array(pairs, bool)[:, None, None], shown.shape)
    return ArraySource(inputs=images, labels=labels, masks=shown, mask=known)


def read_image(file: str | Path | bytes, *, mode: Literal["RGB", "L"] = "RGB") -> np.ndarray:
    """An image file, or its bytes, as uint8 `(3, height, width)`; a mask, "L", has one channel."""
    try:
        with Image.open(BytesIO(file) if isinstance(file, bytes) else file) as opened:
            image = ImageOps.exif_transpose(opened)
            if image.mode.startswith("I"):
                image = Image.fromarray(np.rint(np.asarray(image) / 257).astype(np.uint8))
            if mode == "RGB" and image.has_transparency_data:
                white = Image.new("RGBA", image.size, "white")
                image = Image.alpha_composite(white, image.convert("RGBA"))
            return np.moveaxis(np.atleast_3d(np.asarray(image.convert(mode))), -1, 0)
    except OSError as error:
        name = "the image" if isinstance(file, bytes) else file
        raise DataError(f"{name} cannot be read as an image: {error}") from error


def to_square(image: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """The central square of uint8 `(channels, height, width)`, resized to `size` pixels.

    Colours are averaged over the area of a pixel; `nearest` keeps the values of a mask.
    """
    how = Image.Resampling.NEAREST if nearest else Image.Resampling.BILINEAR
    planes = [ImageOps.fit(Image.fromarray(plane), (size, size), how) for plane in image]
    return np.stack([np.asarray(plane) for plane in planes])


def _mask_of(file: Path, folder: Path) -> Path | None:
    for stem in (file.stem, f"{file.stem}_mask", f"mask_{file.stem}"):
        for path in (folder / f"{stem}{suffix}" for suffix in SUFFIXES):
            if path.is_file():
                if path.suffix in (".jpg", ".jpeg"):
                    warnings.warn(f"{path} is a JPEG: its edges are blurred", stacklevel=3)
                return path
    return None


def _images_in(root: Path, pattern: str) -> list[Path]:
    if not root.is_dir():
        raise DataError(f"{root} is no folder of images")
    return sorted((p for p in root.glob(pattern) if p.suffix.lower() in SUFFIXES), key=_natural)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", f"{path.parent.name}/{path.name}")
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]
