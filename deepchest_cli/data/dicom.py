"""DICOM files as radiographs, through pydicom (the extra `dicom`)."""

import io
import struct
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.data.dicom_gray import to_gray
from deepchest_cli.data.dicom_pixels import (
    UNPACK,
    number_of,
    refused,
    required,
    stored_pixels,
    syntax_of,
)
from deepchest_cli.data.image_checks import damaged, is_colorful, silence
from deepchest_cli.errors import UnreadableRadiographError
from deepchest_cli.extras import install_hint

PREAMBLE = 128  # bytes before the mark
MARK = b"DICM"
PIXEL_DATA = (b"\xe0\x7f\x10\0", b"\x7f\xe0\0\x10")  # the tag in either order of bytes
# value representations (PS3.5 6.2); the length of the long ones takes four bytes
SHORT_VRS = frozenset(b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split())
LONG_VRS = frozenset(b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split())
LONGEST_UID = 64  # letters (PS3.5 9.1)
LONGEST_START = 1024  # bytes of an element at the beginning of a data set

# what may tell that an image is no frontal chest radiograph, and which examination it is from
TAGS = ("Modality", "BodyPartExamined", "ViewPosition", "SeriesDescription", "StudyDescription",
        "ProtocolName", "StudyInstanceUID", "PatientID")  # fmt: skip
NEEDED = ("Rows", "Columns", "SamplesPerPixel", "BitsAllocated", "BitsStored",
          "PixelRepresentation")  # fmt: skip
COLORS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT")
PALETTE = "PALETTE COLOR"
GRAYS = ("MONOCHROME1", "MONOCHROME2")
EXTRA = "dicom"


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM's part 10 says, or with a data set without that beginning."""
    return data[PREAMBLE : PREAMBLE + len(MARK)] == MARK or _is_bare(data)


def _is_bare(data: bytes) -> bool:
    """Whether a file begins with elements of group 2 or 8 in their order, as old archives wrote."""
    for order in "<>":
        tag, end = _element(data, 0, order)
        if tag[0] in (2, 8) and tag[1] < 0x100:
            following, _ = _element(data, end, order)
            return end + 8 > len(data) or tag < following < (0x0030, 0)
    return False


def _element(data: bytes, at: int, order: str) -> tuple[tuple[int, int], int]:
    """Return the tag of an element and where it ends; zeros where there cannot be one."""
    if at + 8 > len(data):
        return (0, 0), 0
    vr = data[at + 4 : at + 6]
    if vr in SHORT_VRS:
        start, length = at + 8, struct.unpack_from(f"{order}H", data, at + 6)[0]
    elif vr in LONG_VRS and at + 12 <= len(data):
        start, length = at + 12, struct.unpack_from(f"{order}I", data, at + 8)[0]
    elif order == "<":  # without its representation
        start, length = at + 8, struct.unpack_from("<I", data, at + 4)[0]
    else:
        return (0, 0), 0
    if length % 2 or length > LONGEST_START:
        return (0, 0), 0
    return struct.unpack_from(f"{order}HH", data, at), start + length


def open_dicom(data: bytes, largest: int) -> tuple[Image.Image, bool, int, dict[str, str]]:
    """Return the image as mode L, black to white; whether it is in color; 1 frame; its `TAGS`.

    Gray is made by `to_gray`; a palette and colors become gray. A file that names no transfer
    syntax is read in the encoding that pydicom finds.
    Raises `UnreadableRadiographError`: without pydicom, without pixels, with several frames, of
    more than `largest` pixels, compressed in a way that no package here can decode, damaged, or
    with elements that contradict each other; the reason names them.
    """
    try:
        import pydicom
    except ImportError as error:
        needed = f"reading DICOM needs pydicom: {install_hint(EXTRA)}"
        raise UnreadableRadiographError(needed) from error
    silence("pydicom")
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=_is_bare(data))
        _refuse_missing_image(dataset, data, largest)
        pixels = _decoded(dataset)
        image, colorful = _to_image(dataset, pixels)
        found = {name: str(dataset.get(name) or "").strip(" \0") for name in TAGS}
    except (UnreadableRadiographError, MemoryError):
        raise
    except Exception as error:  # pydicom raises anything at all on damaged files
        raise refused(_words(error)) from error
    return image, colorful, 1, {name: value for name, value in found.items() if value}


def study_of(tags: Mapping[str, str]) -> str:
    """Return the UID of the examination that a file is from; nothing where it names none."""
    uid = tags.get("StudyInstanceUID", "")
    return uid if uid.isascii() and uid.isprintable() and len(uid) <= LONGEST_UID else ""


def _words(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__


def _refuse_missing_image(dataset: Any, data: bytes, largest: int) -> None:
    """Raise where there is no single image; the elements that pydicom reads again are put right."""
    for floating in ("FloatPixelData", "DoubleFloatPixelData"):
        if floating in dataset:
            raise refused(f"pixels in floating point ({floating}) are not read")
    if "PixelData" not in dataset:
        if any(tag in data for tag in PIXEL_DATA):
            raise damaged("the file is truncated within its pixel data")
        raise UnreadableRadiographError("a DICOM file without pixels")
    frames = int(number_of(dataset, "NumberOfFrames") or 1)
    if frames > 1:
        raise UnreadableRadiographError(f"a DICOM file of {frames} frames, not one radiograph")
    dataset.pop("NumberOfFrames", None)  # whose text pydicom would read once more
    shades = str(dataset.get("PhotometricInterpretation") or "")
    dataset.PhotometricInterpretation = shades.strip(" \0").upper()
    rows, columns, *_ = (required(dataset, keyword) for keyword in NEEDED)
    if rows * columns > largest:
        raise UnreadableRadiographError(f"{columns} × {rows} pixels are too many")


def _decoded(dataset: Any) -> NDArray[Any]:
    """Return the pixels as stored; tells a decoder that is missing from data that are damaged."""
    from pydicom.pixels.decoders.base import get_decoder

    syntax = syntax_of(dataset)
    try:
        decoder = get_decoder(syntax)
    except NotImplementedError as error:
        raise refused(f"pixels compressed as {_name_of(syntax)} are not read ({UNPACK})") from error
    if not decoder.is_available:
        by_gdcm = any("gdcm" in each for each in decoder.missing_dependencies)
        mend = install_hint(EXTRA) if by_gdcm else UNPACK
        raise refused(f"no decoder for pixels compressed as {_name_of(syntax)} is there ({mend})")
    try:
        return stored_pixels(dataset, decoder)
    except (UnreadableRadiographError, MemoryError):
        raise
    except Exception as error:
        words = _words(error)
        if "(0028," in words or not decoder.UID.is_encapsulated:
            raise refused(words) from error  # pydicom names the element
        raise damaged(f"its pixel data ({_name_of(syntax)}) cannot be decoded") from error


def _name_of(syntax: str) -> str:
    from pydicom.uid import UID

    return UID(syntax).name


def _to_image(dataset: Any, stored: NDArray[Any]) -> tuple[Image.Image, bool]:
    """Return the image as mode L, and whether its colors differ by more than compression makes."""
    from pydicom.pixels.processing import apply_color_lut

    shades = dataset.PhotometricInterpretation
    channels = stored.shape[2] if stored.ndim == 3 else 1
    if shades in GRAYS and channels == 1:
        return Image.fromarray(to_gray(dataset, stored)), False
    if shades == PALETTE and channels == 1:
        stored = apply_color_lut(stored, dataset)
        bits = 16 if stored.max() > 255 else 8  # some put 8 bits into entries of 16
    elif shades in COLORS and channels == 3:
        bits = required(dataset, "BitsStored")
    else:
        raise refused(f"PhotometricInterpretation is {shades!r} with SamplesPerPixel {channels}")
    eight = (stored >> max(0, bits - 8)).astype(np.uint8)
    image = Image.fromarray(eight)  # (H, W, 3)
    return image.convert("L"), channels == 3 and is_colorful(eight[::8, ::8].astype(np.int16))
