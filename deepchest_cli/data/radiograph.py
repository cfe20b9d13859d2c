"""From an image file of any mode and size to a greyscale radiograph of 8 bits."""

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from deepchest_cli.errors import DeepChestError

SUFFIXES = frozenset({".png", ".jpg", ".jpeg"})
RESAMPLING = Image.Resampling.BILINEAR  # Pillow widens its support when shrinking: antialiased
TWELVE_BITS, SIXTEEN_BITS = 4095.0, 65535.0


class UnreadableRadiographError(DeepChestError):
    """An image file that yields no radiograph; the message says why."""


def find_radiographs(folder: Path) -> list[Path]:
    """Return the image files below a folder, sorted; linked folders count, each folder once."""
    found, seen = [], set()
    for place, below, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link back to where we have been
            below.clear()
            continue
        seen.add(real)
        paths = (Path(place, name) for name in names)
        found += [path for path in paths if path.suffix.lower() in SUFFIXES and path.is_file()]
    return sorted(found)


def read_radiograph(path: Path, size: int) -> NDArray[np.uint8]:
    """Return an image as greyscale (size, size); the aspect is squashed, as NIH did at the source.

    Alpha is dropped and not composited. Depths over 8 bits are scaled by 65535, or by 4095 where
    no value is larger (12 bits kept in 16). Raises `UnreadableRadiographError` for a file that is
    missing, damaged or no image, and for an image that has one value only.
    """
    try:
        with Image.open(path) as image:
            grey = _to_grey(ImageOps.exif_transpose(image))
            resized = grey.resize((size, size), RESAMPLING)
    except FileNotFoundError as error:
        raise UnreadableRadiographError("the file is missing") from error
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        # Pillow names the file in some messages and not in others; the caller does it always
        reason = str(error).replace(f" {str(path)!r}", "")
        raise UnreadableRadiographError(reason or type(error).__name__) from error
    low, high = resized.getextrema()
    if low == high:
        raise UnreadableRadiographError(f"all pixels have one value ({low})")
    return np.asarray(resized)


def _to_grey(image: Image.Image) -> Image.Image:
    """Return mode L; Pillow's own conversion would clip deep pixels at 255."""
    if image.mode.startswith("I") or image.mode == "F":
        return Image.fromarray(_to_eight_bits(np.asarray(image, dtype=np.float64)))
    return image.convert("L")


def _to_eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    if not np.isfinite(pixels).all() or pixels.min() < 0 or pixels.max() > SIXTEEN_BITS:
        raise ValueError("pixel values outside 0 to 65535")
    highest = TWELVE_BITS if pixels.max() <= TWELVE_BITS else SIXTEEN_BITS
    return np.rint(pixels * (255.0 / highest)).astype(np.uint8)
