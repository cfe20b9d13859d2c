"""Tables that come from anywhere: read as text, whole, and refused with the row otherwise."""

import csv
import gzip
import io
import re
import sys
import zipfile
import zlib
from collections.abc import Collection, Iterator
from itertools import chain
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
LINE = re.compile(r"[^\n]*\n|[^\n]+$")
AGAIN = "The file is damaged. Download it again."
BLANK_ROWS = "rows without values"  # an attribute of a table
NAMELESS = "Unnamed: "  # as pandas names a column without a name


def read_table(
    path: Path, header: bool = True, only: Collection[str] | None = None
) -> pd.DataFrame:
    """Return a CSV or Parquet table as text without outer blanks.

    only: the columns to keep, of those that are there; None: all. CSV may be packed with gzip, and
    `-` is standard input. Commas, semicolons or tabs separate columns; with the latter two, a
    decimal comma becomes a point. Byte-order marks, CRLF, commas after the last column and rows
    without a single value are accepted; the index counts the latter too. Without `header` columns
    are named by their numbers. `text_columns` says how Parquet is read. Raises `UsageError` for an
    empty file, a Git LFS pointer, bytes that are no text, two columns of one name, and a row that
    is cut or too long. Row 1 is the first of the file, in Parquet the first image's.
    """
    if is_parquet(path):
        table = _parquet_table(path)
        return table if only is None else table[[name for name in table if name in only]]
    records, cells = _records(path)
    first, second = next(records), next(records, [])
    names = _names(first, second, path) if header else list(map(str, range(len(first))))
    places = [place for place, name in enumerate(names) if only is None or name in only]
    rows, number = {}, -1
    begun = [row for row in ([] if header else first, second) if row]
    for number, row in enumerate(chain(begun, records), -1 + header):
        if not any(map(str.strip, row)):
            continue
        if len(row) != len(names):
            _refuse_uneven(number, row, names, path)
        kept = row[: len(names)] if only is None else [row[place] for place in places]
        rows[number] = tuple(map(cells.__getitem__, kept))
    if not rows:
        raise UsageError(f"{said(path)} has no rows.", "Give a table with a row for each image.")
    columns = zip((names[place] for place in places), zip(*rows.values(), strict=True), strict=True)
    found = pd.DataFrame(dict(columns), index=list(rows), dtype=str)
    found.attrs[BLANK_ROWS] = number + 1 + (not header) - len(rows)
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


def said(path: Path) -> str:
    """Return what a file is called in a message."""
    return "Standard input" if path == STANDARD_INPUT else str(path)


def _names(header: list[str], row: list[str], path: Path) -> list[str]:
    """Return the names of the columns, but for nameless ones at the end, as NIH's header has.

    Those that the first row fills stay: torchxrayvision has outputs without a name.
    """
    names = [name.strip() or f"{NAMELESS}{place}" for place, name in enumerate(header)]
    while len(names) > 1 and names[-1].startswith(NAMELESS):
        if any(map(str.strip, row[len(names) - 1 :])):
            break
        names.pop()
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UsageError(f"{path} has two columns {repeated[0]!r}.", "Rename one of them.")
    return names


def _refuse_uneven(number: int, row: list[str], names: list[str], path: Path) -> None:
    """Raise for a row that is cut or has too much; empty fields after the last column may be."""
    if len(row) < len(names):
        cut = f"the row ends before column {names[len(row)]!r}."
        raise UsageError(f"{path}, row {number + 2}: {cut}", AGAIN)
    if any(map(str.strip, row[len(names) :])):
        raise UsageError(
            f"{path}, row {number + 2}: {len(row)} fields in {len(names)} columns.",
            "The file is damaged, or has decimal commas between commas: write 0.5, not 0,5.",
        )


class _Cells(dict[str, str]):
    """The cells of a table without outer blanks; those that are equal take memory once."""

    def __init__(self, decimal_comma: bool) -> None:
        super().__init__()
        self.decimal_comma = decimal_comma

    def __missing__(self, cell: str) -> str:
        plain = cell.strip()
        match = DECIMAL_COMMA.fullmatch(plain) if self.decimal_comma else None
        self[cell] = plain = f"{match[1]}.{match[2]}" if match else plain
        return plain


def _records(path: Path) -> tuple[Iterator[list[str]], _Cells]:
    """Return the rows of a CSV file, raw, and what makes their cells plain."""
    text = read_text(path)
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    sign = max(",;\t", key=header.count)  # the first of those that are equally frequent
    lines = (match[0] for match in LINE.finditer(text))  # StringIO takes four bytes a letter

    def rows() -> Iterator[list[str]]:
        try:
            yield from filter(None, csv.reader(lines, delimiter=sign, strict=True))
        except csv.Error as error:
            raise UsageError(f"{path} is no readable CSV table: {error}.", AGAIN) from error

    return rows(), _Cells(decimal_comma=sign != ",")


def read_text(path: Path) -> str:
    """Return a text file or standard input, alone in a zip file, in gzip or not.

    Errors say what it is instead.
    """
    if path == STANDARD_INPUT:
        data = sys.stdin.buffer.read()
    elif path.is_file():
        data = path.read_bytes()
    else:
        what = "is a folder, not a file" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}.", "Check the path, or download the file again.")
    try:
        data = gzip.decompress(data) if data.startswith(b"\x1f\x8b") else data
        data = _only_member(data, path) if data.startswith(b"PK\x03\x04") else data
    except (EOFError, zlib.error, gzip.BadGzipFile, zipfile.BadZipFile) as error:
        raise UsageError(f"{path} is cut short or damaged: {error}.", AGAIN) from error
    if not data.strip():
        remedy = "Check the path, or download the file again."
        if path == STANDARD_INPUT:
            remedy = "The command before the pipe wrote nothing: see what it says."
        raise UsageError(f"{said(path)} is empty.", remedy)
    if data.startswith(LFS_POINTER):
        raise UsageError(f"{path} is a Git LFS pointer, not the file.", "Run: git lfs pull")
    return decode_text(data, path)


def _only_member(data: bytes, path: Path) -> bytes:
    """Return the only file in a zip file, as Kaggle packs single tables."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        names = [info.filename for info in archive.infolist() if not info.is_dir()]
        if len(names) != 1:
            raise UsageError(f"{path} holds {count_of(len(names), 'file')}.", "Unpack its table.")
        return archive.read(names[0])


def find_table(folder: Path, pattern: str) -> Path | None:
    """Return a table of a folder by its name: as it is, else packed with gzip or zip."""
    names = (pattern, f"{pattern}.gz", f"{pattern}.zip")
    found = (path for name in names for path in sorted(folder.glob(name)) if path.is_file())
    return next(found, None)


def header_of(path: Path) -> str:
    """Return the first line of a table; nothing where it cannot be read."""
    try:
        return read_text(path).partition("\n")[0]
    except UsageError:
        return ""
