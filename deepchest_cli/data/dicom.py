"""DICOM files as radiographs, through pydicom (the extra `dicom`)."""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from deepchest_cli.errors import UnreadableRadiographError

PREAMBLE = 128  # bytes before the mark
MARK = b"DICM"


def is_dicom(data: bytes) -> bool:
    """Whether a file begins as DICOM's part 10 says."""
    return data[PREAMBLE : PREAMBLE + len(MARK)] == MARK


def read_dicom(data: bytes, largest: int) -> Image.Image:
    """Return the picture of a DICOM file of at most `largest` pixels as mode L, black to white.

    Modality and VOI lookups are applied in this order; then the lowest value of the picture
    becomes 0 and the highest 255, but 8 bits without lookups stay as they are, as in the PNG made
    from them. MONOCHROME1 and an inverse presentation are inverted.
    Raises `UnreadableRadiographError`: without pydicom, without pixels, with several frames, or
    compressed in a way that no package here can decode.
    """
    try:
        import pydicom
    except ImportError as error:
        raise UnreadableRadiographError(
            "reading DICOM needs pydicom: pip install 'deepchest[dicom]'"
        ) from error
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        _refuse_pictureless(dataset, largest)
        return Image.fromarray(_grey(dataset))
    except UnreadableRadiographError:
        raise
    except Exception as error:  # pydicom raises anything at all on damaged files
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UnreadableRadiographError(f"DICOM: {reason}") from error


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
