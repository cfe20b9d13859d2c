"""CSV tables as text, and their columns by whatever name they go."""

import csv
import io
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.matching import Matcher, stem_of
from deepchest_cli.data.sources.label_values import SPELLINGS
from deepchest_cli.data.sources.tables import UTF_16, read_text
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError

STANDARD_INPUT = Path("-")
DECIMAL = re.compile(r"^(\s*[+-]?\d*),(\d+(?:[eE][+-]?\d+)?\s*)$")
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
# columns of a metadata table that may stand beside scores or labels, and are no findings
OTHERS = {
    "findinglabels", "followup", "nofinding", "normal", "originalimagewidth", "height",
    "originalimageheight", "originalimagepixelspacingx", "originalimagepixelspacingy", "y",
}  # fmt: skip


def plain(name: str) -> str:
    """Return a name without case, spaces and signs, as names are compared."""
    return re.sub(r"[\W_]", "", name.lower())  # letters of any script


FINDING_ALIASES = {plain(name): plain(ours) for name, ours in SPELLINGS.items()}


def plain_finding(name: str) -> str:
    """Return a finding's name as findings are compared: NIH's where it has one."""
    return FINDING_ALIASES.get(plain(name), plain(name))


def read_table(path: Path, header: bool = True, rows: int | None = None) -> pd.DataFrame:
    """Return a CSV table, or its first `rows`, its cells as text; `-` is standard input.

    Raises `UsageError` where there is no file, no row, or no table.
    """
    if path != STANDARD_INPUT and not path.is_file():
        what = "is a folder" if path.is_dir() else "is not there"
        raise UsageError(f"{path} {what}.", "Name a CSV file.")
    try:
        text = _standard_input() if path == STANDARD_INPUT else read_text(path)
        found = _records(text.lstrip("\ufeff"))
    except (csv.Error, UnicodeDecodeError) as error:
        raise UsageError(
            f"{path} is no readable CSV table: {error}.", "Give a table with commas, in UTF-8."
        ) from error
    first = 1 if header else 0
    if len(found) <= first:
        raise UsageError(f"{path} has no rows.", "Give a table with a row for each image.")
    names = _names(found[0], path) if header else list(map(str, range(len(found[0]))))
    _refuse_uneven(found, len(names), path)
    body = found[first:] if rows is None else found[first : first + rows]
    columns = zip(names, zip(*body, strict=True), strict=True)
    return pd.DataFrame({name: np.array(cells, dtype=object) for name, cells in columns})


def _standard_input() -> str:
    data = sys.stdin.buffer.read()
    return data.decode("utf-16" if data.startswith(UTF_16) else "utf-8-sig")


def _records(text: str) -> list[list[str]]:
    """Return the cells of each row with a cell, and none after the last that says something.

    Where semicolons or tabs stand between columns, a number may have a decimal comma: it gets a
    point. Rows of commas alone at a table's end are Excel's.
    """
    sign = _delimiter(text)
    rows = [row for row in csv.reader(io.StringIO(text), delimiter=sign, strict=True) if row]
    while rows and not any(map(str.strip, rows[-1])):
        rows.pop()
    if sign == ",":
        return rows
    return [[DECIMAL.sub(r"\1.\2", cell) for cell in row] for row in rows]


def _delimiter(text: str) -> str:
    """Return what stands between the columns of a header: a comma, a semicolon or a tab."""
    header = re.sub(r'"[^"]*"', "", text.lstrip().partition("\n")[0])
    return max(",;\t", key=header.count)  # the first of those that are equally frequent


def _names(header: list[str], path: Path) -> list[str]:
    """Return the columns' names, one for a nameless one too; the same name twice is an error."""
    names = [name.strip() or f"Unnamed: {place}" for place, name in enumerate(header)]
    repeated = [name for name in names if names.count(name) > 1]
    if repeated:
        raise UsageError(f"{path} has two columns {repeated[0]!r}.", "Keep one of them.")
    return names


def _refuse_uneven(rows: list[list[str]], width: int, path: Path) -> None:
    """Raise for a row that is cut or has too many cells, as decimal commas make them."""
    for number, row in enumerate(rows, start=1):
        while len(row) > width and not row[-1]:
            row.pop()  # a comma at the end
        if len(row) != width:
            raise UsageError(
                f"{path}, row {number}: {len(row)} cells, where the first row has {width}.",
                "The file is cut short, or its numbers have decimal commas: write 0.5, not 0,5.",
            )


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
    """Return an image's name without ending, as it is matched; folders stay."""
    return stem_of(re.sub(r"\.npy$", "", name.strip(), flags=re.I))


def match_images(names: Sequence[str], there: Sequence[str], path: Path) -> list[int | None]:
    """Return where each image stands among those that are there; None: nowhere.

    Names agree from the end as far as both have folders. Raises `UsageError` where two of them are
    the same image.
    """
    matcher = Matcher(list(there))
    found = [matcher.find(name) for name in names]
    rows = [None if one is None else one[0] for one in found]
    seen: dict[int, str] = {}
    for name, row in zip(names, rows, strict=True):
        if row is not None and row in seen:
            raise UsageError(
                f"{path}: {seen[row]!r} and {name!r} would both be {there[row]!r}.",
                "Give the folders in both files, or in neither.",
            )
        if row is not None:
            seen[row] = name
    return rows


def image_keys(names: Sequence[str], path: Path, first_row: int = 2) -> NDArray[np.str_]:
    """Return images' names without ending, as they are matched.

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
        row = next(i for i, cell in enumerate(text) if not is_number(cell))
        raise UsageError(
            f"{path}, row {row + first_row}, column {name!r}: should be a number. "
            f"Found {str(text[row])!r}.",
            "Every image needs a score for every finding.",
        ) from None
    return values


def is_number(cell: str) -> bool:
    """Whether a cell is a number, finite or not."""
    try:
        float(cell)
    except ValueError:
        return False
    return True
