"""CSV tables that come from anywhere: read as text, whole, and refused with the row otherwise."""

import csv
import gzip
import io
import re
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from deepchest_cli.data.cells import each_text, is_blank
from deepchest_cli.data.picture import LFS_POINTER
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError

UTF_16 = (b"\xff\xfe", b"\xfe\xff")
AGAIN = "Download it again."
BLANK_ROWS = "rows without values"  # an attribute of a table


def read_table(path: Path) -> pd.DataFrame:
    """Return a CSV file, or one packed with gzip, as text without outer blanks.

    Byte-order marks, CRLF, semicolons or tabs between columns, commas after the last column and
    rows without a single value are accepted; the index counts the latter too. Raises `UsageError`
    for an empty file, a Git LFS pointer, bytes that are no text, and a row that is cut or too long;
    the header is row 1.
    """
    header, *every = _records(path)
    names = [name.strip() for name in header]
    while names and not names[-1]:  # NIH's header ends in a comma
        names.pop()
    index = [number for number, row in enumerate(every) if any(map(str.strip, row))]
    rows = [every[number] for number in index]
    if not rows:
        raise UsageError(f"{path} has a header and no rows.", AGAIN)
    repeated = [name for name in names if name and names.count(name) > 1]
    if repeated:
        raise UsageError(f"{path} has two columns {repeated[0]!r}.", "Rename one of them.")
    if {len(row) for row in rows} != {len(names)}:
        _refuse_uneven(rows, index, names, path)
    named = [(name, cells) for name, cells in zip(names, zip(*rows, strict=False), strict=False)]
    cells = {name: [cell.strip() for cell in cells] for name, cells in named if name}
    found = pd.DataFrame(cells, index=index)
    found.attrs[BLANK_ROWS] = len(every) - len(rows)
    return found


def row_number(column: "pd.Series[Any] | pd.DataFrame", place: Any) -> int:
    """Return the number of a row of a table in its file, where the header is row 1."""
    return int(column.index[place]) + 2


def blank_rows(raw: pd.DataFrame, path: Path) -> tuple[str, ...]:
    """Return a note on rows without a single value, as Excel leaves them at a table's end.

    raw: just as `read_table` returned it.
    """
    number = raw.attrs[BLANK_ROWS]
    passed = count_of(number, "row has no values and is", "rows have no values and are")
    return (f"{path.name}: {passed} passed over.",) * bool(number)


def _refuse_uneven(rows: list[list[str]], index: list[int], names: list[str], path: Path) -> None:
    """Raise for a row that is cut or has too much; empty fields after the last column may be."""
    for number, row in zip((place + 2 for place in index), rows, strict=True):
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
    text = read_text(path)
    try:
        sign = _delimiter(text)
        found = [row for row in csv.reader(io.StringIO(text), delimiter=sign, strict=True) if row]
    except csv.Error as error:
        raise UsageError(f"{path} is no readable CSV table: {error}.", AGAIN) from error
    if not found:
        raise UsageError(f"{path} is empty.", AGAIN)
    return found


def _delimiter(text: str) -> str:
    """Return what stands between the columns of a header: a comma, a semicolon or a tab."""
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    return max(",;\t", key=header.count)  # the first of those that are equally frequent


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


def plain_name(name: str) -> str:
    """Return a column's name without case, spaces and signs."""
    return re.sub(r"[\W_]", "", name.lower())


def choose_column(raw: pd.DataFrame, spellings: Iterable[str]) -> str | None:
    """Return the first of the spellings that the table has, or has in other letters and signs."""
    wanted = list(spellings)
    exact = next((name for name in wanted if name in raw.columns), None)
    if exact is not None:
        return exact
    plain = {plain_name(str(name)): str(name) for name in reversed(raw.columns)}
    return next((plain[plain_name(name)] for name in wanted if plain_name(name) in plain), None)


def _exact(raw: pd.DataFrame, name: str) -> str | None:
    return name if name in raw.columns else None


def need_column(raw: pd.DataFrame, spellings: Iterable[str], path: Path, hint: str) -> str:
    """Return the first of the spellings that the table has; raise naming what was there.

    Other letters and signs are accepted where there are several usual names, and not for one that
    the user or the data set's authors gave.
    """
    wanted = list(spellings)
    found = choose_column(raw, wanted) if len(wanted) > 1 else _exact(raw, wanted[0])
    if found is None:
        raise UsageError(
            f"{path} has no column {wanted[0]!r}. Found: {', '.join(raw.columns)}.", hint
        )
    return found


def refuse_blank(column: "pd.Series[str]", path: Path) -> None:
    """Raise `UsageError` with the row of a cell that is empty and must not be."""
    blank = np.flatnonzero(each_text(column, is_blank))
    if len(blank):
        cell = column.iloc[blank[0]]
        raise UsageError(
            f"{path}, row {row_number(column, blank[0])}: column {column.name!r} is empty"
            + (f" ({cell!r})." if cell else "."),
            "Every image needs a value there: fill it in, remove the row, or download the table "
            "again if it is cut short.",
        )


def refuse_names(names: "pd.Series[str]", width: int, path: Path) -> None:
    """Raise `UsageError` for image names that a shard cannot keep apart in `width` bytes."""
    plain = [name.isascii() and name.isprintable() and len(name) <= width for name in names]
    wrong = np.flatnonzero(~np.array(plain, dtype=bool))
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(names, wrong[0])}: image name {names.iloc[wrong[0]]!r} is "
            f"not plain ASCII of at most {width} characters."
        )


def refuse_repeated(names: "pd.Series[str]", path: Path) -> None:
    """Raise `UsageError` with the rows of an image that has more than one."""
    repeated = names[names.duplicated(keep=False)]
    if len(repeated):
        places = np.flatnonzero(names == repeated.iloc[0])
        rows = few(row_number(names, place) for place in places)
        raise UsageError(
            f"{path}: image {repeated.iloc[0]!r} stands in rows {rows}.",
            "Each image has one row; remove the others.",
        )
