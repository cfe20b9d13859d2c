"""The pixel data of a DICOM file as it was stored, through pydicom's decoders and Pillow."""

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.data.dicom_elements import refused, required
from deepchest_cli.data.jpeg import SEQUENTIAL, JpegFile, layout_of
from deepchest_cli.data.picture import damaged

JPEG = b"\xff\xd8"
JPEG_2000 = b"\xff\x4f\xff\x51"  # its first two markers


def syntax_of(dataset: Any) -> str:
    """Return the transfer syntax, or where a file names none the one that its encoding is of."""
    from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

    named = getattr(dataset, "file_meta", {}).get("TransferSyntaxUID")
    if named:
        return str(named)
    if dataset.get_item("PixelData").length == 0xFFFFFFFF:
        raise refused(
            "the pixels are compressed, and TransferSyntaxUID, which says how, is missing"
        )
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
    else:
        frame = get_frame(dataset.PixelData, 0, number_of_frames=1)
        if frame.startswith(JPEG):
            grey = _eight_bit_jpeg(dataset, frame)
            if grey is not None:
                return grey
        if _is_safe_for_pillow(dataset, frame) and "pillow" in decoder.available_plugins:
            plugin = "pillow"  # damaged data end the process in gdcm, which would come first
    pixels, _ = decoder.as_array(
        dataset, index=0, decoding_plugin=plugin, correct_unused_bits=False
    )
    return np.asarray(pixels)


def _refuse_other_length(dataset: Any) -> None:
    """Raise where pixels that are not compressed are too few, or more than padding explains."""
    rows, columns = required(dataset, "Rows"), required(dataset, "Columns")
    bits = required(dataset, "BitsAllocated") * required(dataset, "SamplesPerPixel")
    if bits % 8 or dataset.PhotometricInterpretation == "YBR_FULL_422":
        return  # pydicom knows how these are packed
    expected, found = rows * columns * bits // 8, len(dataset.PixelData)
    if found < expected or found - expected >= max(2, min(rows, columns) * bits // 8):
        raise refused(
            f"PixelData has {found:,} bytes, but Rows × Columns × BitsAllocated make {expected:,}"
        )


def _eight_bit_jpeg(dataset: Any, frame: bytes) -> NDArray[Any] | None:
    """Return the pixels of grey JPEG data of 8 bits; None for others, whose size is verified."""
    layout = layout_of(frame)
    if layout is None:
        raise damaged("its JPEG data have no image")
    _refuse_other_size(dataset, layout.width, layout.height, layout.channels)
    if layout.frame not in SEQUENTIAL or layout.precision != 8:
        return None
    file = JpegFile(frame)
    image = Image.open(file)
    image.load()
    file.refuse_misfit()
    signed = required(dataset, "PixelRepresentation")
    return np.asarray(image).view(np.int8 if signed else np.uint8) if image.mode == "L" else None


def _is_safe_for_pillow(dataset: Any, frame: bytes) -> bool:
    """Whether Pillow keeps all bits: of JPEG in color, and of JPEG 2000 but for deep color."""
    if frame.startswith(JPEG):
        layout = layout_of(frame)
        return layout is not None and layout.frame in SEQUENTIAL and layout.precision == 8
    if not frame.startswith(JPEG_2000) or len(frame) < 43:
        return False
    right, bottom, left, top = struct.unpack_from(">4I", frame, 8)
    channels = int.from_bytes(frame[40:42])
    _refuse_other_size(dataset, right - left, bottom - top, channels)
    return (frame[42] & 0x7F) + 1 <= (16 if channels == 1 else 8)


def _refuse_other_size(dataset: Any, *found: int) -> None:
    said = tuple(required(dataset, name) for name in ("Columns", "Rows", "SamplesPerPixel"))
    if found != said:
        there, here = (f"{columns} × {rows} × {n}" for columns, rows, n in (found, said))
        raise refused(
            f"the compressed image is {there}, but Columns × Rows × SamplesPerPixel are {here}"
        )
