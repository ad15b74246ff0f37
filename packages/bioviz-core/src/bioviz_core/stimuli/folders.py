"""Image files as arrays: one way of reading for every archive.

Images are uint8 `(channels, height, width)` until a source gives them. The camera's orientation
note is followed, grey becomes three channels, transparency lies on white, 16 bits become 8.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image, ImageOps

from bioviz_core.errors import DataError


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
