"""What tables say about patients: their numbers."""

import hashlib
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.cells import each_text
from deepchest_cli.data.sources.base import LARGEST_ID
from deepchest_cli.data.sources.tables import row_number
from deepchest_cli.errors import UsageError


def whole_numbers(column: "pd.Series[str]", path: Path) -> "pd.Series[int]":
    """Return numbers from 0 as int64; errors name the row."""
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero(~numbers.between(0, LARGEST_ID) | (numbers % 1 != 0))
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"{path}, row {row_number(column, row)}: column {column.name!r} should be a whole "
            f"number from 0. Found {column.iloc[row]!r}."
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
