"""CSV tables as text, and their columns by whatever name they go."""

import csv
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.errors import UsageError

STANDARD_INPUT = Path("-")
SHOWN = 5  # names listed in a message before it says how many more there are
# our name: spellings, as `plain` leaves them
ALIASES = {
    "image": (
        "imageindex", "image", "imageid", "imagename", "imagepath", "path", "filename", "filepath",
        "file", "img", "index", "id",
    ),
    "patient": ("patientid", "patient", "subjectid", "subject"),
    "split": ("split", "part", "fold", "setid"),
    "age": ("patientage", "age"),
    "sex": ("patientgender", "patientsex", "gender", "sex"),
    "view": ("viewposition", "view"),
}  # fmt: skip
# other spellings of findings: MedMNIST's
FINDING_ALIASES = {"pleural": "pleuralthickening", "infiltrate": "infiltration"}


def plain(name: str) -> str:
    """Return a name without case, spaces and signs, as names are compared."""
    return re.sub(r"[^0-9a-z]", "", name.lower())


def plain_finding(name: str) -> str:
    """Return a finding's name as findings are compared."""
    return FINDING_ALIASES.get(plain(name), plain(name))


def few(names: Iterable[object]) -> str:
    """Return the first few of many names and how many more there are."""
    listed = [str(name) for name in names]
    rest = len(listed) - SHOWN
    return ", ".join(listed[:SHOWN]) + (f" and {rest:,} more" if rest > 0 else "")


def read_table(path: Path, header: bool = True) -> pd.DataFrame:
    """Return a CSV table, its cells as text; `-` is standard input.

    Raises `UsageError` where there is no file, no row, or no table.
    """
    if path != STANDARD_INPUT:
        _refuse_no_table(path)
    try:
        table = pd.read_csv(
            sys.stdin if path == STANDARD_INPUT else path,
            dtype=str,
            keep_default_na=False,
            index_col=False,
            encoding="utf-8-sig",
            header=0 if header else None,
        )
    except (ValueError, OSError, csv.Error) as error:
        reason = str(error).splitlines()[0].rstrip(".")
        raise UsageError(
            f"{path} is no readable CSV table: {reason}.", "Give a table with commas, in UTF-8."
        ) from error
    if table.empty:
        raise UsageError(f"{path} has no rows.", "Give a table with a row for each image.")
    return table


def _refuse_no_table(path: Path) -> None:
    if not path.is_file():
        found = "is a folder" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {found}.", "Name a CSV file.")
    with path.open("rb") as file:
        start = file.read(64)
    if start.startswith(b"version https://git-lfs"):
        raise UsageError(f"{path} is a Git LFS pointer, not the table.", "Run: git lfs pull")


def find_column(table: pd.DataFrame, role: str) -> str | None:
    """Return the column that plays a role of `ALIASES`, the first spelling first."""
    names = {plain(str(column)): str(column) for column in reversed(table.columns)}
    return next((names[alias] for alias in ALIASES[role] if alias in names), None)


def image_column(table: pd.DataFrame, path: Path) -> str:
    """Return the column of image names; raises `UsageError` where there is none."""
    column = find_column(table, "image")
    first = str(table.columns[0])
    if column is None and (first.startswith("Unnamed") or not first.strip()):
        column = first  # as a table's index is written
    if column is None:
        raise UsageError(
            f"{path} has no column of image names. Found: {few(table.columns)}.",
            "Call it 'Image Index', 'image' or 'path'.",
        )
    return column


def image_key(name: str) -> str:
    """Return an image's name without folder and ending, as it is matched."""
    return re.sub(r"\.(png|jpe?g|dcm|npy)$", "", re.split(r"[/\\]", name.strip())[-1], flags=re.I)


def image_keys(names: Sequence[str], path: Path, first_row: int = 2) -> NDArray[np.str_]:
    """Return images' names without folder and ending, as they are matched.

    Raises `UsageError` for an empty name and for an image that stands there twice. The rows of a
    message are counted as an editor does, the table's first being `first_row`.
    """
    keys = np.array([image_key(name) for name in names], dtype=str)
    empty = np.flatnonzero(keys == "")
    if len(empty):
        raise UsageError(f"{path}, row {empty[0] + first_row}: the image has no name.")
    unique, inverse, counts = np.unique(keys, return_inverse=True, return_counts=True)
    if (counts > 1).any():
        twice = int(np.flatnonzero(counts > 1)[0])
        rows = few(np.flatnonzero(inverse.reshape(-1) == twice) + first_row)
        more = int((counts > 1).sum()) - 1
        raise UsageError(
            f"{path}: image {str(unique[twice])!r} stands in rows {rows}"
            + (f", and {more:,} other images are repeated too." if more else "."),
            "Give each image one row; average its predictions if there are several.",
        )
    return keys


def numbers(column: "pd.Series[str]", name: str, path: Path, first_row: int = 2) -> NDArray:  # type: ignore[type-arg]
    """Return a column of text as numbers (N,), exactly; raises `UsageError` naming the cell."""
    text = column.to_numpy(dtype=str)
    try:
        values = text.astype(np.float64)
    except ValueError:
        row = next(i for i, cell in enumerate(text) if not _is_number(cell))
        raise UsageError(
            f"{path}, row {row + first_row}, column {name!r}: should be a number. "
            f"Found {str(text[row])!r}.",
            "Every image needs a score for every finding.",
        ) from None
    return values


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
