"""DICOM files as radiographs, through pydicom (the extra `dicom`)."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.errors import UnreadableRadiographError

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
INSTALL = "pip install 'deepchest[dicom]'"
UNPACK = " (export it uncompressed: gdcmconv --raw)"


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM's part 10 says, or with a data set without that beginning."""
    return data[PREAMBLE : PREAMBLE + len(MARK)] == MARK or _is_bare(data)


def _is_bare(data: bytes) -> bool:
    """Whether a file begins with an element of group 2 or 8, as old archives wrote them."""
    explicit = data[4:6] in (b"UL", b"UI", b"CS", b"OB", b"SH")
    implicit = data[4:8] in (b"\x04\0\0\0", b"\x0a\0\0\0")
    return data[:2] in (b"\x02\0", b"\x08\0") and data[3:4] == b"\0" and (explicit or implicit)


def read_dicom(data: bytes, largest: int) -> Image.Image:
    """Return the picture of a DICOM file of at most `largest` pixels as mode L, black to white.

    Modality and VOI lookups are applied in this order; then the lowest value of the picture
    becomes 0 and the highest 255, but 8 bits without lookups stay as they are, as in the PNG made
    from them. MONOCHROME1 and an inverse presentation are inverted.
    Raises `UnreadableRadiographError`: without pydicom, without pixels, with several frames, or
    compressed in a way that no package here can decode.
    """
    return open_dicom(data, largest)[0]


def open_dicom(data: bytes, largest: int) -> tuple[Image.Image, bool, int, dict[str, str]]:
    """Return the picture as `read_dicom`, whether it is in colour, 1 frame, and its `TAGS`."""
    try:
        import pydicom
    except ImportError as error:
        raise UnreadableRadiographError(f"reading DICOM needs pydicom: {INSTALL}") from error
    try:
        dataset = pydicom.dcmread(io.BytesIO(data), force=_is_bare(data))
        _refuse_pictureless(dataset, largest)
        picture = Image.fromarray(_grey(dataset))
    except UnreadableRadiographError:
        raise
    except Exception as error:  # pydicom raises anything at all on damaged files
        raise UnreadableRadiographError(_reason(error)) from error
    found = {name: str(dataset.get(name) or "").strip() for name in TAGS}
    tags = {name: value for name, value in found.items() if value}
    return picture, int(dataset.get("SamplesPerPixel", 1)) > 1, 1, tags


def _reason(error: Exception) -> str:
    reason = " ".join(str(error).split()) or type(error).__name__
    if "plugins" in reason:  # each of which it names
        return f"DICOM: {reason} ({INSTALL})"
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
    from pydicom.pixels.processing import apply_modality_lut, apply_voi_lut

    stored = dataset.pixel_array
    if stored.ndim == 3:  # colour: what Pillow calls grey
        return np.asarray(Image.fromarray(stored.astype(np.uint8)).convert("L"), dtype=np.uint8)
    shown = apply_voi_lut(apply_modality_lut(stored, dataset), dataset).astype(np.float32)
    low, high = _range(dataset, shown)
    grey = np.clip((shown - low) * (255.0 / max(high - low, 1e-9)), 0, 255)
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    inverted |= dataset.get("PresentationLUTShape") == "INVERSE"
    return np.asarray(np.rint(255.0 - grey if inverted else grey), dtype=np.uint8)


def _range(dataset: Any, shown: NDArray[np.float32]) -> tuple[float, float]:
    """Return the values that become black and white."""
    has_window = "WindowCenter" in dataset or "VOILUTSequence" in dataset
    bits = int(dataset.get("BitsStored", 8))
    plain = float(dataset.get("RescaleSlope", 1)) == 1 and not dataset.get("RescaleIntercept", 0)
    if bits == 8 and plain and not has_window and dataset.get("PixelRepresentation", 0) == 0:
        return 0.0, 255.0  # as the PNG made from it
    return float(shown.min()), float(shown.max())
