"""CSV tables that come from anywhere: read as text, whole, and refused with the row otherwise."""

import csv
import gzip
import io
import zlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.picture import LFS_POINTER
from deepchest_cli.errors import UsageError

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
AGAIN = "Download it again."


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV file, or one packed with gzip, as text without outer blanks.

    Byte-order marks, CRLF and commas after the last column are accepted. Raises `UsageError` for
    an empty file, a Git LFS pointer, bytes that are no text, and a row that is cut or too long;
    the header is row 1.
    """
    header, *rows = _records(path)
    names = [name.strip() for name in header]
    while names and not names[-1]:  # NIH's header ends in a comma
        names.pop()
    if not rows:
        raise UsageError(f"{path} has a header and no rows.", AGAIN)
    repeated = [name for name in names if name and names.count(name) > 1]
    if repeated:
        raise UsageError(f"{path} has two columns {repeated[0]!r}.", "Rename one of them.")
    if {len(row) for row in rows} != {len(names)}:
        _refuse_uneven(rows, names, path)
    named = [(name, cells) for name, cells in zip(names, zip(*rows, strict=False), strict=False)]
    return pd.DataFrame({name: [cell.strip() for cell in cells] for name, cells in named if name})


def _refuse_uneven(rows: list[list[str]], names: list[str], path: Path) -> None:
    """Raise for a row that is cut or has too much; empty fields after the last column may be."""
    for number, row in enumerate(rows, start=2):
        if len(row) < len(names):
            raise UsageError(
                f"{path}, row {number}: the row ends before column {names[len(row)]!r}.",
                f"The file is cut short or damaged. {AGAIN}",
            )
        if any(row[len(names) :]):
            raise UsageError(
                f"{path}, row {number}: {len(row)} fields in {len(names)} columns.", AGAIN
            )


def _records(path: Path) -> list[list[str]]:
    """Return the fields of every line but blank ones."""
    try:
        found = [row for row in csv.reader(io.StringIO(read_text(path)), strict=True) if row]
    except csv.Error as error:
        raise UsageError(f"{path} is no readable CSV table: {error}.", AGAIN) from error
    if not found:
        raise UsageError(f"{path} is empty.", AGAIN)
    return found


def read_text(path: Path) -> str:
    """Return a text file in UTF-8 or UTF-16, gzip or not; errors say what it is instead."""
    if not path.is_file():
        raise UsageError(f"There is no file {path}.", "Check the folder, or download it again.")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} is cut short or damaged: {error}.", AGAIN) from error
    if not data.strip():
        raise UsageError(f"{path} is empty.", AGAIN)
    if data.startswith(LFS_POINTER):
        raise UsageError(f"{path} is a Git LFS pointer, not the file.", "Run: git lfs pull")
    try:
        return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(
            f"{path}, line {line}: byte 0x{data[error.start]:02x} is not UTF-8.",
            f"Convert it: iconv -f LATIN1 -t UTF-8 {path.name} > new.csv",
        ) from error


def choose_column(raw: pd.DataFrame, spellings: Iterable[str]) -> str | None:
    """Return the first of the spellings that the table has."""
    return next((name for name in spellings if name in raw.columns), None)


def need_column(raw: pd.DataFrame, spellings: Iterable[str], path: Path, hint: str) -> str:
    """Return the first of the spellings that the table has; raise naming what was there."""
    wanted = list(spellings)
    found = choose_column(raw, wanted)
    if found is None:
        raise UsageError(
            f"{path} has no column {wanted[0]!r}. Found: {', '.join(raw.columns)}.", hint
        )
    return found


def refuse_blank(column: "pd.Series[str]", path: Path) -> None:
    """Raise `UsageError` with the row of a cell that is empty and must not be."""
    blank = np.flatnonzero(column == "")
    if len(blank):
        raise UsageError(
            f"{path}, row {blank[0] + 2}: column {column.name!r} is empty.",
            f"The file is cut short or damaged. {AGAIN}",
        )


def refuse_names(names: "pd.Series[str]", width: int, path: Path) -> None:
    """Raise `UsageError` for image names that a shard cannot keep apart in `width` bytes."""
    plain = [name.isascii() and name.isprintable() and len(name) <= width for name in names]
    wrong = np.flatnonzero(~np.array(plain, dtype=bool))
    if len(wrong):
        raise UsageError(
            f"{path}, row {wrong[0] + 2}: image name {names.iloc[wrong[0]]!r} is not plain ASCII "
            f"of at most {width} characters."
        )


def refuse_repeated(names: "pd.Series[str]", path: Path) -> None:
    """Raise `UsageError` with the rows of an image that has more than one."""
    repeated = names[names.duplicated(keep=False)]
    if len(repeated):
        rows = [str(row + 2) for row in np.flatnonzero(names == repeated.iloc[0])]
        raise UsageError(
            f"{path}: image {repeated.iloc[0]!r} stands in rows {', '.join(rows)}.",
            "Each image has one row; remove the others.",
        )
