"""Tables that come from anywhere: read as text, whole, and refused with the row otherwise."""

import csv
import gzip
import io
import re
import sys
import zlib
from pathlib import Path
from typing import Any

import pandas as pd

from deepchest_cli.data.image_checks import LFS_POINTER
from deepchest_cli.data.parquet import INDEX, is_parquet, text_columns
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.files import decode_text

STANDARD_INPUT = Path("-")
DECIMAL_COMMA = re.compile(r"([+-]?\d*),(\d+(?:[eE][+-]?\d+)?)")
AGAIN = "The file is damaged. Download it again."
BLANK_ROWS = "rows without values"  # an attribute of a table
NAMELESS = "Unnamed: "  # as pandas names a column without a name


def read_table(path: Path, header: bool = True) -> pd.DataFrame:
    """Return a CSV or Parquet table as text without outer blanks.

    CSV may be packed with gzip, and `-` is standard input. Commas, semicolons or tabs separate
    columns; with the latter two, a decimal comma becomes a point. Byte-order marks, CRLF, commas
    after the last column and rows without a single value are accepted; the index counts the latter
    too. Without `header` columns are named by their numbers. `text_columns` says how Parquet is
    read. Raises `UsageError` for an empty file, a Git LFS pointer, bytes that are no text, two
    columns of one name, and a row that is cut or too long. Row 1 is the first of the file, in
    Parquet the first image's.
    """
    if is_parquet(path):
        return _parquet_table(path)
    records = _records(path)
    first = _names(records[0], path) if header else None
    names = first or list(map(str, range(len(records[0]))))
    every = dict(enumerate(records, start=-1))  # the row behind the header has number 0
    if first is not None:
        del every[-1]
    rows = {number: row for number, row in every.items() if any(map(str.strip, row))}
    if not rows:
        raise UsageError(f"{path} has no rows.", "Give a table with a row for each image.")
    if {len(row) for row in rows.values()} != {len(names)}:
        _refuse_uneven(rows, names, path)
    columns = zip(names, zip(*rows.values(), strict=False), strict=False)
    cells = {name: [cell.strip() for cell in column] for name, column in columns}
    found = pd.DataFrame(cells, index=list(rows))
    found.attrs[BLANK_ROWS] = len(every) - len(rows)
    return found


def _parquet_table(path: Path) -> pd.DataFrame:
    columns = text_columns(path)
    if not columns:
        raise UsageError(f"{path} has no column of text or numbers.", "Check the path.")
    count = len(next(iter(columns.values())))
    if not count:
        raise UsageError(f"{path} has no rows.", "Give a table with a row for each image.")
    named = {
        f"{NAMELESS}{place}" if name.startswith(INDEX) else name: cells
        for place, (name, cells) in enumerate(columns.items())
    }
    found = pd.DataFrame(named, index=range(-1, count - 1), dtype=str)
    found.attrs[BLANK_ROWS] = 0
    return found


def row_number(table: "pd.Series[Any] | pd.DataFrame", place: Any) -> int:
    """Return the number of a row of a table in its file, whose first row is 1."""
    return int(table.index[place]) + 2


def blank_rows(raw: pd.DataFrame, path: Path) -> tuple[str, ...]:
    """Return a note on rows without a single value, as Excel leaves them at a table's end.

    raw: just as `read_table` returned it.
    """
    number = raw.attrs[BLANK_ROWS]
    passed = count_of(number, "row has no values and is", "rows have no values and are")
    return (f"{path.name}: {passed} passed over.",) * bool(number)


def _names(header: list[str], path: Path) -> list[str]:
    """Return the names of the columns, but for nameless ones at the end, as NIH's header has."""
    names = [name.strip() or f"{NAMELESS}{place}" for place, name in enumerate(header)]
    while len(names) > 1 and names[-1].startswith(NAMELESS):
        names.pop()
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UsageError(f"{path} has two columns {repeated[0]!r}.", "Rename one of them.")
    return names


def _refuse_uneven(rows: dict[int, list[str]], names: list[str], path: Path) -> None:
    """Raise for a row that is cut or has too much; empty fields after the last column may be."""
    for number, row in rows.items():
        if len(row) < len(names):
            cut = f"the row ends before column {names[len(row)]!r}."
            raise UsageError(f"{path}, row {number + 2}: {cut}", AGAIN)
        if any(row[len(names) :]):
            raise UsageError(
                f"{path}, row {number + 2}: {len(row)} fields in {len(names)} columns.",
                "The file is damaged, or has decimal commas between commas: write 0.5, not 0,5.",
            )


def _records(path: Path) -> list[list[str]]:
    text = read_text(path)
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    sign = max(",;\t", key=header.count)  # the first of those that are equally frequent
    try:
        found = [row for row in csv.reader(io.StringIO(text), delimiter=sign, strict=True) if row]
    except csv.Error as error:
        raise UsageError(f"{path} is no readable CSV table: {error}.", AGAIN) from error
    if sign == ",":
        return found
    return [[_with_point(cell) for cell in row] for row in found]


def _with_point(cell: str) -> str:
    match = DECIMAL_COMMA.fullmatch(cell.strip())
    return f"{match[1]}.{match[2]}" if match else cell


def read_text(path: Path) -> str:
    """Return a text file or standard input, gzip or not; errors say what it is instead."""
    if path == STANDARD_INPUT:
        data = sys.stdin.buffer.read()
    elif path.is_file():
        data = path.read_bytes()
    else:
        what = "is a folder, not a file" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}.", "Check the path, or download the file again.")
    try:
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise UsageError(f"{path} is cut short or damaged: {error}.", AGAIN) from error
    if not data.strip():
        raise UsageError(f"{path} is empty.", "Check the path, or download the file again.")
    if data.startswith(LFS_POINTER):
        raise UsageError(f"{path} is a Git LFS pointer, not the file.", "Run: git lfs pull")
    return decode_text(data, path)
