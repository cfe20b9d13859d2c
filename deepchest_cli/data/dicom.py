"""DICOM files as radiographs, through pydicom (the extra `dicom`)."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.data.picture import is_colourful
from deepchest_cli.errors import UnreadableRadiographError
from deepchest_cli.extras import install_hint

PREAMBLE = 128  # bytes before the mark
MARK = b"DICM"


# what may tell that a picture is no frontal chest radiograph
TAGS = (
    "Modality",
    "BodyPartExamined",
    "ViewPosition",
    "SeriesDescription",
    "StudyDescription",
    "ProtocolName",
)
EXTRA = "dicom"
UNPACK = " (export it uncompressed: gdcmconv --raw)"


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM's part 10 says, or with a data set without that beginning."""
    return data[PREAMBLE : PREAMBLE + len(MARK)] == MARK or _is_bare(data)


def _is_bare(data: bytes) -> bool:
    """Whether a file begins with an element of group 2 or 8, as old archives wrote them."""
    explicit = data[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH")
    implicit = data[4:8] in (b"\x04\0\0\0", b"\x0a\0\0\0")
    return data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0" and (explicit or implicit)


def open_dicom(data: bytes, largest: int) -> tuple[Image.Image, bool, int, dict[str, str]]:
    """Return the picture as mode L, black to white; whether it is in colour; 1 frame; its `TAGS`.

    Modality and VOI lookups are applied in this order; then the lowest value of the picture
    becomes 0 and the highest 255, but 8 bits without lookups stay as they are, as in the PNG made
    from them. Padding is black and counts for nothing. MONOCHROME1 and an inverse presentation are
    inverted; a palette and colours become grey.
    Raises `UnreadableRadiographError`: without pydicom, without pixels, with several frames, of
    more than `largest` pixels, or compressed in a way that no package here can decode.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UnreadableRadiographError(
            f"reading DICOM needs pydicom ({install_hint(EXTRA)})"
        ) from error
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=_is_bare(data))
        _refuse_pictureless(dataset, largest)
        picture, colourful = Image.fromarray(_grey(dataset)), _is_colourful(dataset)
    except UnreadableRadiographError:
        raise
    except Exception as error:  # pydicom raises anything at all on damaged files
        raise UnreadableRadiographError(_reason(error)) from error
    found = {name: str(dataset.get(name) or "").strip() for name in TAGS}
    tags = {name: value for name, value in found.items() if value}
    return picture, colourful, 1, tags


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "plugins" in reason:  # each of which it names
        return f"DICOM: {reason} ({install_hint(EXTRA)})"
    return f"DICOM: {reason}" + (UNPACK if "not supported" in reason else "")


def _refuse_pictureless(dataset: Any, largest: int) -> None:
    if "PixelData" not in dataset:
        raise UnreadableRadiographError("a DICOM file without pixels")
    frames = int(dataset.get("NumberOfFrames", 1) or 1)
    if frames > 1:
        raise UnreadableRadiographError(f"a DICOM file of {frames} frames, not one radiograph")
    if dataset.Rows * dataset.Columns > largest:
        raise UnreadableRadiographError(f"{dataset.Columns} × {dataset.Rows} pixels are too many")


def _grey(dataset: Any) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut, apply_modality_lut, apply_voi_lut

    stored = dataset.pixel_array
    if dataset.get("PhotometricInterpretation") == "PALETTE COLOR":
        stored = apply_color_lut(stored, dataset)
    if stored.ndim == 3:  # colour: what Pillow calls grey
        bytes_of = stored >> (8 * (stored.dtype.itemsize - 1))
        return np.asarray(Image.fromarray(bytes_of.astype(np.uint8)).convert("L"), dtype=np.uint8)
    for name, neutral in (("RescaleSlope", 1), ("RescaleIntercept", 0)):
        if name in dataset and dataset.get(name) in (None, ""):
            setattr(dataset, name, neutral)  # there, and empty
    if dataset.get("WindowCenter") in (None, "") and "WindowCenter" in dataset:
        del dataset.WindowCenter
    padding = _padding(dataset, stored)
    shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float32)
    low, high = _range(dataset, shown if padding.all() else shown[~padding])
    grey = np.clip((shown - low) * (255.0 / max(high - low, 1e-9)), 0, 255)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    inverted |= dataset.get("PresentationLUTShape") == "INVERSE"
    grey = 255.0 - grey if inverted else grey
    return np.asarray(np.rint(np.where(padding, 0.0, grey)), dtype=np.uint8)


def _padding(dataset: Any, stored: NDArray[Any]) -> NDArray[np.bool_]:
    """Return which pixels lie outside the picture: they are black and stretch nothing."""
    value = dataset.get("PixelPaddingValue")
    if value in (None, ""):
        return np.zeros(stored.shape, dtype=bool)
    other = dataset.get("PixelPaddingRangeLimit", value)
    low, high = sorted((int(value), int(value if other in (None, "") else other)))
    return np.asarray((stored >= low) & (stored <= high))


def _range(dataset: Any, shown: NDArray[np.float32]) -> tuple[float, float]:
    """Return the values that become black and white."""
    has_window = "WindowCenter" in dataset or "VOILUTSequence" in dataset
    bits = int(dataset.get("BitsStored", 8))
    plain = float(dataset.get("RescaleSlope", 1)) == 1 and not dataset.get("RescaleIntercept", 0)
    if bits == 8 and plain and not has_window and dataset.get("PixelRepresentation", 0) == 0:
        return 0.0, 255.0  # as the PNG made from it
    return float(shown.min()), float(shown.max())


def _is_colourful(dataset: Any) -> bool:
    """Whether the channels of a picture differ by more than compression makes them."""
    if int(dataset.get("SamplesPerPixel", 1)) < 2:
        return False
    pixels = dataset.pixel_array
    shift = 8 * (pixels.dtype.itemsize - 1)
    return is_colourful((pixels[::8, ::8] >> shift).astype(np.int16))
