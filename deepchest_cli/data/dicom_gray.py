"""Stored values of a DICOM image to gray levels: used bits, padding, modality and VOI lookups."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dicom_pixels import integer_of, number_of, refused, required

Numbers = NDArray[Any]
BLACK, WHITE = 0.0, 255.0


@dataclass(frozen=True)
class Levels:
    """Values (H, W) at some stage, and the lowest and highest that this stage can yield."""

    values: Numbers
    lowest: float
    highest: float


def to_gray(dataset: Any, stored: Numbers) -> NDArray[np.uint8]:
    """Return values (H, W) as they were decoded as gray levels from black to white.

    PS3.3 C.7.6.3.1 and C.11. Eight bits are shown as they are, as in the PNG made from them;
    others are stretched: the lowest value of the image becomes 0 and the highest 255.
    Padding is black and stretches nothing. MONOCHROME1 and an inverse presentation are inverted.
    Raises `UnreadableRadiographError`, which names the element.
    """
    bits = min(required(dataset, "BitsStored"), 8 * stored.dtype.itemsize)
    used, padding = _used(dataset, stored, bits)
    if padding is not None and padding.all():
        raise refused("all pixels are padding (PixelPaddingValue)")
    shown = _voi(dataset, _modality(dataset, used))
    image = shown.values if padding is None else shown.values[~padding]
    low, high = float(image.min()), float(image.max())
    if low == high and np.ptp(used.values if padding is None else used.values[~padding]):
        raise refused("the window or lookup table makes all pixels one value")
    if bits == 8:
        low, high = shown.lowest, shown.highest
    gray = (shown.values.astype(np.float32) - np.float32(low)) * (WHITE / max(high - low, 1e-9))
    inverted = dataset.get("PhotometricInterpretation") == "MONOCHROME1"
    inverted |= dataset.get("PresentationLUTShape") == "INVERSE"
    gray = np.clip(WHITE - gray if inverted else gray, BLACK, WHITE)
    if padding is not None:
        gray[padding] = BLACK
    return np.asarray(np.rint(gray), dtype=np.uint8)


def _used(dataset: Any, stored: Numbers, bits: int) -> tuple[Levels, NDArray[np.bool_] | None]:
    """Return the values of the bits that hold them, and which pixels are padding.

    pydicom takes the lowest `BitsStored`, wherever `HighBit` says that they are.
    """
    unused, signed = 8 * stored.dtype.itemsize - bits, stored.dtype.kind == "i"
    highest = 2 ** (bits - signed) - 1
    lowest = -highest - 1 if signed else 0
    if unused and (shift := _shift(dataset, stored, bits, unused)):
        stored = stored >> shift
    values = stored
    if unused and (stored.min() < lowest or stored.max() > highest):
        values = (stored << unused) >> unused
    padding = _padding(dataset, stored, values, bits)
    if values is not stored and not _has_overlay(dataset):
        lost = (values != stored) & (stored >> bits != 0)  # a negative one may have zeros above
        if (lost if padding is None else lost & ~padding).any():
            raise refused(f"there are values of more than {bits} bits (BitsStored)")
    return Levels(values, lowest, highest), padding


def _shift(dataset: Any, stored: Numbers, bits: int, unused: int) -> int:
    """Return how many bits below the values are unused."""
    high = integer_of(dataset, "HighBit")
    shift = 0 if high is None else high + 1 - bits
    says = f"HighBit is {high} and BitsStored {bits}"
    if not 0 <= shift <= unused:
        raise refused(f"{says}, which contradicts BitsAllocated")
    if shift and (stored & (2**shift - 1)).any():
        raise refused(f"{says}, but there are values in the {shift} bits below")
    return shift


def _has_overlay(dataset: Any) -> bool:
    """Whether unused bits of the pixels hold overlays, as old files have them."""
    return any(
        0x6000 <= tag.group < 0x6100 and tag.element == 0x0102 and dataset[tag].value
        for tag in dataset.keys()  # noqa: SIM118  (its iterator reads every element)
    )


def _padding(dataset: Any, stored: Numbers, values: Numbers, bits: int) -> NDArray[np.bool_] | None:
    """Return which pixels lie outside the image; their value may stand in either sign."""
    first = integer_of(dataset, "PixelPaddingValue")
    if first is None:
        return None
    second = integer_of(dataset, "PixelPaddingRangeLimit")
    signed = stored.dtype.kind == "i"
    ends = (first, first if second is None else second)
    low, high = sorted(_in_sign(each, signed, bits) for each in ends)
    found = (stored >= low) & (stored <= high)
    if signed and values is not stored:
        found |= (values >= low) & (values <= high)
    return found if found.any() else None


def _in_sign(value: int, signed: bool, bits: int) -> int:
    """Return a value of 16 bits, or of the stored bits, in the sign of the pixels."""
    if signed and value >= 2**15:
        return value - 2**16
    if signed and value >= 2 ** (bits - 1):
        return value - (1 << bits)
    return value if signed or value >= 0 else value + 2**16


def _modality(dataset: Any, levels: Levels) -> Levels:
    """Return a device's values as those of the modality (PS3.3 C.11.1)."""
    if dataset.get("ModalityLUTSequence"):
        return _looked_up(dataset, dataset.ModalityLUTSequence[0], levels.values)
    slope, intercept = (number_of(dataset, f"Rescale{name}") for name in ("Slope", "Intercept"))
    if slope == 0:
        raise refused("RescaleSlope is 0, which makes all pixels one value")
    if slope in (None, 1) and not intercept:
        return levels
    slope, intercept = 1.0 if slope is None else slope, intercept or 0.0
    ends = sorted(end * slope + intercept for end in (levels.lowest, levels.highest))
    return Levels(levels.values.astype(np.float64) * slope + intercept, *ends)


def _voi(dataset: Any, levels: Levels) -> Levels:
    """Return the values of interest spread over the shades (PS3.3 C.11.2): a table or a window.

    A window without its center or its width is none.
    """
    table = (dataset.get("VOILUTSequence") or [None])[0]
    if table is not None and table.get("LUTData") and table.get("LUTDescriptor"):
        return _looked_up(dataset, table, levels.values)
    center, width = (number_of(dataset, f"Window{name}") for name in ("Center", "Width"))
    if center is None or width is None:
        return levels
    function = str(dataset.get("VOILUTFunction") or "LINEAR").strip().upper()
    smallest = 1 if function == "LINEAR" else 0
    if width < smallest or width == 0:
        raise refused(f"WindowWidth is {width:g}, too small for a window ({function})")
    values = levels.values.astype(np.float64)
    if function == "SIGMOID":
        with np.errstate(over="ignore"):
            return Levels(1 / (1 + np.exp(-4 * (values - center) / width)), 0, 1)
    if function == "LINEAR":
        center, width = center - 0.5, max(width - 1, 1e-6)
    elif function != "LINEAR_EXACT":
        raise refused(f"VOILUTFunction is {function!r}, not LINEAR, LINEAR_EXACT or SIGMOID")
    return Levels(np.clip((values - center) / width + 0.5, 0, 1), 0, 1)


def _looked_up(dataset: Any, item: Any, values: Numbers) -> Levels:
    """Return values through a lookup table (PS3.3 C.11.1.1.1)."""
    entries, first, _ = (int(each) for each in item.LUTDescriptor)
    entries = entries % 2**16 or 2**16
    if first >= 2**15 and values.min() < 0:
        first -= 2**16
    data = item.LUTData
    if isinstance(data, bytes):
        order = ">" if dataset.original_encoding[1] is False else "<"
        table = np.frombuffer(data, "u1" if len(data) - entries in (0, 1) else f"{order}u2")
    else:
        table = np.atleast_1d(np.asarray(data)) % 2**16
    if len(table) < entries:
        raise refused(f"LUTData has {len(table)} entries, LUTDescriptor says {entries}")
    table = table[:entries].astype(np.float32)
    places = np.rint(values).astype(np.int64) - first
    found = table[np.clip(places, 0, entries - 1)]
    return Levels(found, float(table.min()), float(table.max()))
