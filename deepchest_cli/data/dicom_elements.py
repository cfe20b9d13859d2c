"""Values of DICOM elements, read leniently where the meaning is plain, and refused by name else."""

import math
from collections.abc import Sequence
from typing import Any

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
