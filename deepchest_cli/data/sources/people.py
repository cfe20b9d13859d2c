"""What tables say about patients: numbers, ages with units, sex."""

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.sources.base import LARGEST_ID
from deepchest_cli.errors import UsageError

OLDEST = 120  # years; NIH's table of 2017 holds ages up to 414
AGE = re.compile(r"0*(\d{1,3})(?:\.\d*)?([YMWD]?)")
SEXES = {"M": "M", "MALE": "M", "F": "F", "FEMALE": "F"}
YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


def whole_numbers(column: "pd.Series[str]", path: Path) -> "pd.Series[int]":
    """Return numbers from 0 as int64; errors name the row."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero(~numbers.between(0, LARGEST_ID) | (numbers % 1 != 0))
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"{path}, row {row + 2}: column {column.name!r} should be a whole number from 0. "
            f"Found {column.iloc[row]!r}."
        )
    return numbers.astype(np.int64)


def patient_numbers(column: "pd.Series[str]") -> NDArray[np.int64]:
    """Return a number for each patient's name: its digits, or a hash where they are no number.

    The same name gives the same number in every table.
    """
    numbers = pd.to_numeric(column, errors="coerce")
    if bool((numbers.between(0, LARGEST_ID) & (numbers % 1 == 0)).all()):
        return numbers.to_numpy(dtype=np.int64)
    return each_text(column, _hashed).to_numpy(dtype=np.int64)


def _hashed(name: str) -> int:
    name = name.lstrip("0") if name.isdigit() else name  # 007 is 7
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest()) >> 1


def read_ages(column: "pd.Series[str]") -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Return ages in years (N,), NaN where unknown or impossible, and what was noticed."""
    ages = each_text(column, _years).to_numpy(dtype=np.float64)
    wrong = column[np.isnan(ages) & (column != "").to_numpy()]
    if not len(wrong):
        return ages, ()
    return ages, (
        f"{len(wrong)} impossible ages (the first is {wrong.iloc[0]!r}) are taken as unknown; "
        "the images stay.",
    )


def _years(text: str) -> float:
    """Return an age such as `58`, `060Y`, `013M` or `001D` in years; NaN where it is impossible."""
    match = AGE.fullmatch(text.upper())
    years = float(match[1]) * YEARS[match[2]] if match else np.nan
    return years if years <= OLDEST else np.nan


def read_sexes(column: "pd.Series[str]") -> "pd.Series[str]":
    """Return `M`, `F` or an empty text."""
    return each_text(column, lambda text: SEXES.get(text.upper(), ""))


def each_text(column: "pd.Series[str]", change: Callable[[str], Any]) -> "pd.Series[Any]":
    """Return a column whose texts, few of them distinct, are each changed once."""
    return column.map({text: change(text) for text in column.unique()})
