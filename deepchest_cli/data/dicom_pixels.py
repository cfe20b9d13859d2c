"""The decoded pixels of a DICOM file and its elements, read leniently or refused by name."""

import math
import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.data.image_checks import damaged
from deepchest_cli.data.jpeg import JpegFile, Layout, layout_of
from deepchest_cli.errors import UnreadableRadiographError

TEXT_VRS = (None, "DS", "IS", "LO", "SH", "ST", "LT", "UN")  # None: the file does not say


def refused(reason: str) -> UnreadableRadiographError:
    """Return the error for a file that cannot be read as it is; the reason names the element."""
    return UnreadableRadiographError(f"DICOM: {reason}")


def number_of(dataset: Any, keyword: str) -> float | None:
    """Return the first number of a decimal or integer string; None where absent or empty.

    It is read from the file's own text: pydicom refuses a decimal comma in words of Python.
    Raises `UnreadableRadiographError`.
    """
    element = dataset.get_item(keyword)
    value = None if element is None else element.value
    if isinstance(value, bytes) and element.VR in TEXT_VRS:
        value = value.decode("latin-1").partition("\\")[0]
    elif isinstance(value, bytes):
        value = dataset[keyword].value
    text = str(_first(value)).strip(" \0")
    if not text:
        return None
    try:
        number = float(text.replace(",", "."))
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise refused(f"{keyword} is {text!r}, not a number")
    return number


def integer_of(dataset: Any, keyword: str) -> int | None:
    """Return the first value of an element of binary integers; None where absent or empty."""
    value = _first(dataset.get(keyword))
    if value == "":
        return None
    if not isinstance(value, int):
        raise refused(f"{keyword} is {value!r}, not a whole number")
    return value


def required(dataset: Any, keyword: str) -> int:
    """Return the same of an element that every image has."""
    value = integer_of(dataset, keyword)
    if value is None:
        raise refused(f"{keyword} is missing")
    return value


def _first(value: Any) -> Any:
    """Return the first of several values, and an empty string for none."""
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        value = value[0] if len(value) else ""
    return "" if value is None else value


JPEG = b"\xff\xd8"
JPEG_2000_START = b"\xff\x4f\xff\x51"
EIGHT_BITS = (0xC0, 0xC1, 0xC2)  # sequential and progressive
# what the data must be, by transfer syntax: damaged ones end the process in gdcm, so that it gets
# only lossless JPEG and JPEG-LS, which Pillow does not read, and only with sound markers
PROCESSES = {
    "1.2.840.10008.1.2.4.50": EIGHT_BITS,
    "1.2.840.10008.1.2.4.51": EIGHT_BITS,
    "1.2.840.10008.1.2.4.57": (0xC3,),
    "1.2.840.10008.1.2.4.70": (0xC3,),
    "1.2.840.10008.1.2.4.80": (0xF7,),
    "1.2.840.10008.1.2.4.81": (0xF7,),
}
JPEG_2000 = ("1.2.840.10008.1.2.4.90", "1.2.840.10008.1.2.4.91")
UNPACK = "export it uncompressed: gdcmconv --raw"


def syntax_of(dataset: Any) -> str:
    """Return the transfer syntax, or where a file names none the one that its encoding is of."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    named = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if named:
        return str(named)
    if dataset.get_item("PixelData").length == 0xFFFFFFFF:
        how = "TransferSyntaxUID, which says how, is missing"
        raise refused(f"the pixels are compressed, and {how}")
    implicit, little = dataset.original_encoding
    if implicit:
        return str(ImplicitVRLittleEndian)
    return str(ExplicitVRLittleEndian if little else ExplicitVRBigEndian)


def stored_pixels(dataset: Any, decoder: Any) -> NDArray[Any]:
    """Return the pixels, (H, W) or in color (H, W, 3), with all bits that were allocated.

    decoder: pydicom's for the transfer syntax. Raises `UnreadableRadiographError` where the data
    do not fit the elements that describe them, and whatever pydicom raises.
    """
    from pydicom.encaps import get_frame

    plugin = ""  # pydicom's order
    if not decoder.UID.is_encapsulated:
        _refuse_other_length(dataset)
    elif (syntax := str(decoder.UID)) in PROCESSES:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        layout = _layout_of(dataset, frame, PROCESSES[syntax])
        if layout.frame in EIGHT_BITS:
            plugin = "pillow"
            if (gray := _eight_bit_jpeg(dataset, frame, layout)) is not None:
                return gray
    elif syntax in JPEG_2000:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        _refuse_wrong_jpeg_2000(dataset, frame)
        plugin = "pillow"
    how = {"decoding_plugin": plugin, "correct_unused_bits": False}
    return np.asarray(decoder.as_array(dataset, index=0, **how)[0])


def _refuse_other_length(dataset: Any) -> None:
    """Raise where pixels that are not compressed are too few, or more than padding explains."""
    rows, columns = required(dataset, "Rows"), required(dataset, "Columns")
    bits = required(dataset, "BitsAllocated") * required(dataset, "SamplesPerPixel")
    if bits % 8 or dataset.PhotometricInterpretation == "YBR_FULL_422":
        return  # pydicom knows how these are packed
    expected, found = rows * columns * bits // 8, len(dataset.PixelData)
    if found < expected or found - expected >= max(2, min(rows, columns) * bits // 8):
        said = f"Rows × Columns × BitsAllocated make {expected:,}"
        raise refused(f"PixelData has {found:,} bytes, but {said}")


def _layout_of(dataset: Any, frame: bytes, processes: tuple[int, ...]) -> Layout:
    layout = layout_of(frame) if frame.startswith(JPEG) else None
    if layout is None or layout.frame not in processes:
        raise damaged("its pixel data are not compressed as its transfer syntax says")
    _refuse_other_size(dataset, layout.width, layout.height, layout.channels)
    return layout


def _eight_bit_jpeg(dataset: Any, frame: bytes, layout: Layout) -> NDArray[Any] | None:
    """Return the pixels of gray JPEG data, and None for color; both are verified."""
    if layout.precision != 8:
        raise refused(f"JPEG data of {layout.precision} bits are not read ({UNPACK})")
    file = JpegFile(frame)
    image = Image.open(file)
    image.load()
    file.refuse_misfit()
    signed = required(dataset, "PixelRepresentation")
    return np.asarray(image).view(np.int8 if signed else np.uint8) if image.mode == "L" else None


def _refuse_wrong_jpeg_2000(dataset: Any, frame: bytes) -> None:
    """Raise where a codestream has another size, or more bits than Pillow keeps."""
    start = frame.find(JPEG_2000_START)  # behind the boxes of a file, where somebody left them
    if not 0 <= start <= len(frame) - 43:
        raise damaged("its pixel data are not compressed as its transfer syntax says")
    right, bottom, left, top = struct.unpack_from(">4I", frame, start + 8)
    channels = int.from_bytes(frame[start + 40 : start + 42])
    _refuse_other_size(dataset, right - left, bottom - top, channels)
    bits = (frame[start + 42] & 0x7F) + 1
    if bits > (16 if channels == 1 else 8):
        raise refused(f"JPEG 2000 data of {bits} bits in {channels} channels are not read")


def _refuse_other_size(dataset: Any, *found: int) -> None:
    said = tuple(required(dataset, name) for name in ("Columns", "Rows", "SamplesPerPixel"))
    if found != said:
        there, here = (f"{columns} × {rows} × {n}" for columns, rows, n in (found, said))
        what = "Columns × Rows × SamplesPerPixel"
        raise refused(f"the compressed image is {there}, but {what} are {here}")
