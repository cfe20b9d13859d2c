"""From an image file of any mode, depth and size to a grayscale radiograph of 8 bits."""

import io
import struct
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from zlib_ng import zlib_ng

from deepchest_cli.data import jpeg, png
from deepchest_cli.data.dicom import is_dicom, open_dicom
from deepchest_cli.data.image_checks import (
    LARGEST_PIXELS,
    LFS_POINTER,
    damaged,
    is_colorful,
    silence,
)
from deepchest_cli.data.jpeg import JpegFile
from deepchest_cli.data.png import unpack_png
from deepchest_cli.errors import UnreadableRadiographError

COMPRESSION = 259
DEFLATE = (8, 32946)
STRIPS, TILES = (273, 279), (324, 325)  # the tags of their offsets and lengths
BLOCK = 2**20  # bytes that are unpacked at a time
MOST_BLOCKS = 8 * LARGEST_PIXELS // BLOCK
SUFFIXES = {".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp", ".webp", ".dcm", ".dicom", ".ima"}
RESAMPLING = Image.Resampling.BILINEAR  # Pillow widens its support when shrinking: antialiased
PHOTOMETRIC = 262  # the TIFF tag; 0: white is zero
TWELVE_BITS, SIXTEEN_BITS = 4095.0, 65535.0
BROKEN = (OSError, ValueError, SyntaxError, EOFError, struct.error, zlib.error,
          Image.DecompressionBombError)  # fmt: skip
COLOR_SAMPLE = 128  # pixels of the side that is looked at for color
GRAY_MODES = ("1", "L", "LA", "La", "F")


def refuse_wrong_checksums(image: Image.Image, data: bytes) -> None:
    """Raise `UnreadableRadiographError` where the Adler-32 of a strip or tile is wrong.

    image: an opened TIFF file, whose tags tell where they lie; others pass.
    """
    tags = getattr(image, "tag_v2", {})
    if tags.get(COMPRESSION) not in DEFLATE:
        return
    for offsets, lengths in (STRIPS, TILES):
        for offset, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False):
            _unpack(memoryview(data)[offset : offset + length], offset)


def _unpack(packed: memoryview, offset: int) -> None:
    inflater = zlib_ng.decompressobj()
    rest: memoryview | bytes = packed
    try:
        for _ in range(MOST_BLOCKS):
            unpacked = inflater.decompress(rest, BLOCK)
            rest = inflater.unconsumed_tail
            if inflater.eof:
                return
            if len(unpacked) < BLOCK and not rest:
                break
    except zlib_ng.error as error:  # type: ignore[misc]  # its stub calls it an instance
        raise damaged(f"the checksum of the pixel data at byte {offset:,} is wrong") from error
    raise damaged(f"the pixel data at byte {offset:,} do not end")


@dataclass(frozen=True)
class Opened:
    """An image as mode L at its own size, and what its file says about it."""

    image: Image.Image
    is_colorful: bool = False
    frames: int = 1  # of which the first was read
    tags: Mapping[str, str] = field(default_factory=dict)  # of DICOM, by keyword, as far as known


@dataclass(frozen=True)
class Placement:
    """Where an image lies within the stored square, in stored pixels."""

    left: int
    top: int
    width: int
    height: int


def decode(data: bytes) -> Image.Image:
    """Return the bytes of an image file as mode L, at its own size.

    Alpha is dropped and not composited. Depths over 8 bits are scaled by 65535, or by 4095 where
    no value is larger (12 bits kept in 16; of several channels Pillow gives the upper 8 bits);
    floating-point values up to 1 are scaled by 1. Raises `UnreadableRadiographError` for what is
    damaged or no image, and for an image that has one value only.
    """
    return open_image(data).image


def open_image(data: bytes) -> Opened:
    """Return the bytes of an image file as an image and what the file says; as `decode`."""
    silence("PIL")
    if data.startswith(LFS_POINTER):
        raise UnreadableRadiographError("a Git LFS pointer, not the image (run: git lfs pull)")
    if not data:
        raise UnreadableRadiographError("the file is empty (0 bytes); fetch it again")
    if is_dicom(data):
        shown = Opened(*open_dicom(data, LARGEST_PIXELS))
        refuse_constant(shown.image)
        return shown
    try:
        file = _file(data)
        image = Image.open(file)
        if image.width * image.height > LARGEST_PIXELS:
            raise ValueError(f"{image.width} × {image.height} pixels are too many")
        refuse_wrong_checksums(image, data)
        frames = getattr(image, "n_frames", 1)
        ImageOps.exif_transpose(image, in_place=True)
        opened = Opened(_to_gray(image), _is_colorful(image), frames)
        if isinstance(file, JpegFile):
            file.refuse_misfit()
    except UnidentifiedImageError as error:
        raise UnreadableRadiographError("cannot identify it as an image") from error
    except BROKEN as error:
        raise UnreadableRadiographError(str(error) or type(error).__name__) from error
    refuse_constant(opened.image)
    return opened


def _file(data: bytes) -> io.BytesIO:
    """Return what Pillow is to read, where the format shows damage that Pillow passes over."""
    if data.startswith(png.SIGNATURE):
        return io.BytesIO(unpack_png(data))
    return JpegFile(data) if data.startswith(jpeg.START) else io.BytesIO(data)


def refuse_constant(image: Image.Image) -> None:
    """Raise `UnreadableRadiographError` for an image with one value only, which shows nothing."""
    low, high = image.resize((16, 16), Image.Resampling.NEAREST).getextrema()
    if low == high:  # by a sample, and only then by all
        low, high = image.getextrema()
    if low == high:
        raise UnreadableRadiographError(f"all pixels have one value ({low})")


def placement(width: int, height: int, size: int, pad: bool) -> Placement:
    """Return where an image of width × height pixels lies in a square of `size`.

    Without `pad` it fills the square; with `pad` it keeps its aspect, in the middle of black.
    """
    if not pad or width == height:
        return Placement(0, 0, size, size)
    scale = size / max(width, height)
    width, height = max(1, round(width * scale)), max(1, round(height * scale))
    return Placement((size - width) // 2, (size - height) // 2, width, height)


def fit(image: Image.Image, size: int, pad: bool = False) -> NDArray[np.uint8]:
    """Return an image of mode L as (size, size); without `pad` squashed, as NIH did."""
    place = placement(image.width, image.height, size, pad)
    inner = np.asarray(image.resize((place.width, place.height), RESAMPLING))
    below, right = size - place.top - place.height, size - place.left - place.width
    return np.pad(inner, ((place.top, below), (place.left, right)))


def _to_gray(image: Image.Image) -> Image.Image:
    """Return mode L; Pillow's own conversion would clip deep pixels at 255."""
    if image.mode.startswith("I") or image.mode == "F":
        values = np.asarray(image)
        share = image.mode == "F" and values.size and values.max() <= 1
        gray = to_eight_bits(values * SIXTEEN_BITS if share else values)
        return Image.fromarray(255 - gray if _is_white_zero(image) else gray)
    image.load()
    return image if image.mode == "L" else image.convert("L")


def _is_white_zero(image: Image.Image) -> bool:
    """Whether a TIFF counts from white; Pillow itself turns those of 8 bits only."""
    return getattr(image, "tag_v2", {}).get(PHOTOMETRIC) == 0


def _is_colorful(image: Image.Image) -> bool:
    if image.mode in GRAY_MODES or image.mode.startswith("I"):
        return False
    side = (COLOR_SAMPLE, COLOR_SAMPLE)
    sample = np.asarray(image.resize(side, Image.Resampling.NEAREST).convert("RGB"), dtype=np.int16)
    return is_colorful(sample)


def to_eight_bits(pixels: NDArray[Any]) -> NDArray[np.uint8]:
    """Return deep gray values from 0 to 65535 as 8 bits, by the rule of `decode`."""
    low, high = float(pixels.min()), float(pixels.max())
    if not 0 <= low <= high <= SIXTEEN_BITS:  # NaN neither
        raise ValueError("pixel values outside 0 to 65535")
    highest = TWELVE_BITS if high <= TWELVE_BITS else SIXTEEN_BITS
    # a table of all values takes no room, where floats of a large image take gigabytes
    table = np.rint(np.arange(SIXTEEN_BITS + 1) * (255.0 / highest)).clip(0, 255).astype(np.uint8)
    whole = pixels if pixels.dtype == np.uint16 else np.rint(pixels).astype(np.uint16)
    return np.asarray(table[whole])
