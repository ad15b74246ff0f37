"""Images and masks from folders of ordinary files, and the decoding that archives share.

Images are uint8 `(channels, height, width)` until a source gives them. The camera's orientation
note is followed, grey becomes three channels, transparency lies on white, 16 bits become 8.
"""

from __future__ import annotations

import re
import warnings
from io import BytesIO
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from bioviz_core.errors import DataError, MissingDependencyError
from bioviz_core.stimuli.sources import ArraySource

if TYPE_CHECKING:
    from PIL.Image import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


def folder(path: str | Path, *, size: int = 224, masks: str | Path | None = None) -> ArraySource:
    """The images of a folder in natural order, the central square of each at `size` pixels.

    One sub-folder per class gives its name's place as label, else each image is its own. `masks`
    is a folder with `x.png`, `x_mask.png` or `mask_x.png` for each `x.jpg`: `masks` in the batch is
    1 where the file passes half its range, and `mask` is False throughout images that have none.
    """
    root = Path(path)
    if not root.is_dir():
        raise DataError(f"{root} is no folder of images")
    files = _images_in(root)
    labels = np.arange(len(files))
    classes = sorted((p for p in root.iterdir() if p.is_dir()), key=_natural)
    pairs = [(file, label) for label, kind in enumerate(classes) for file in _images_in(kind)]
    if not files and pairs:
        files, labels = [file for file, _ in pairs], np.array([label for _, label in pairs])
    if not files:
        raise DataError(f"{root} holds no image: {', '.join(SUFFIXES)}")
    images = np.stack([to_square(read_image(file), size) for file in files])
    if masks is None:
        return ArraySource(inputs=images, labels=labels)
    found = [_mask_of(file, Path(masks), size) for file in files]
    if all(mask is None for mask in found):
        raise DataError(f"{masks} holds a mask of none of the images, such as {files[0].stem}.png")
    empty = np.zeros((size, size), np.uint8)
    shown = np.stack([empty if mask is None else mask for mask in found])
    counts = np.stack([np.full((size, size), mask is not None) for mask in found])
    return ArraySource(inputs=images, labels=labels, masks=shown, mask=counts)


def read_image(path: str | Path) -> np.ndarray:
    """One image file as uint8 `(3, height, width)`."""
    try:
        return decode(Path(path).read_bytes())
    except OSError as error:
        raise DataError(f"{path} cannot be read as an image: {error}") from error


def decode(content: bytes) -> np.ndarray:
    """The bytes of an image file as uint8 `(3, height, width)`."""
    from PIL import ImageOps

    with _pillow().open(BytesIO(content)) as opened:
        image = ImageOps.exif_transpose(_eight_bits(opened))
        if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
            image = image.convert("RGBA")
            white = _pillow().new("RGBA", image.size, "white")
            image = _pillow().alpha_composite(white, image)
        return np.ascontiguousarray(np.asarray(image.convert("RGB")).transpose(2, 0, 1))


def decode_mask(file: str | Path | IO[bytes]) -> np.ndarray:
    """An image file of one channel as uint8 `(height, width)`."""
    with _pillow().open(file) as opened:
        return np.array(_eight_bits(opened).convert("L"))


def to_square(image: np.ndarray, size: int, *, nearest: bool = False) -> np.ndarray:
    """The central square of uint8 `(channels, height, width)`, resized to `size` pixels.

    Colours are averaged over the area of a pixel; `nearest` keeps the values of a mask.
    """
    height, width = image.shape[1:]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = image[:, top : top + side, left : left + side]
    if side == size:
        return np.ascontiguousarray(square)
    from PIL.Image import Resampling

    how = Resampling.NEAREST if nearest else Resampling.BILINEAR
    planes = [_pillow().fromarray(plane).resize((size, size), how) for plane in square]
    return np.stack([np.asarray(plane) for plane in planes])


def _mask_of(file: Path, folder: Path, size: int) -> np.ndarray | None:
    for stem in (file.stem, f"{file.stem}_mask", f"mask_{file.stem}"):
        for suffix in SUFFIXES:
            path = folder / f"{stem}{suffix}"
            if path.is_file():
                if suffix in (".jpg", ".jpeg"):
                    warnings.warn(f"{path} is a JPEG: its edges are blurred", stacklevel=3)
                mask = decode_mask(path)
                return np.asarray(to_square(mask[None], size, nearest=True)[0] > 127, np.uint8)
    return None


def _images_in(folder: Path) -> list[Path]:
    return sorted((p for p in folder.iterdir() if p.suffix.lower() in SUFFIXES), key=_natural)


def _natural(path: Path) -> list[tuple[int, int | str]]:
    parts = re.split(r"(\d+)", path.name)
    return [(0, int(part)) if part.isdigit() else (1, part) for part in parts if part]


def _eight_bits(image: Image) -> Image:
    if image.mode.startswith(("I", "F")):
        levels = np.asarray(image, np.float64)
        top = 65535 if image.mode.startswith("I") else max(float(levels.max()), 1e-12)
        eight = np.rint(levels.clip(0, top) * (255 / top)).astype(np.uint8)
        image = _pillow().fromarray(eight)
    return image


def _pillow() -> Any:
    try:
        from PIL import Image
    except ModuleNotFoundError as error:
        raise MissingDependencyError(
            "reading images needs pillow: pip install 'bioviz-core[data]'"
        ) from error
    return Image
