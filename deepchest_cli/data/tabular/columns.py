"""Columns of a table: which plays which role, what it says, and what may not stand in it."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import plain_name
from deepchest_cli.data.matching import image_key
from deepchest_cli.data.tabular.cells import (
    LARGEST_ID,
    each_text,
    is_blank,
    is_number,
    read_ages,
    read_sexes,
    read_views,
)
from deepchest_cli.data.tabular.tables import NAMELESS, row_number
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError

# what data sets call a column, the best name first; case, spaces and signs do not matter
ROLES = {
    "path": ("Path", "image_path", "file_path", "filename", "file", "Image Index", "image",
             "image_id", "image_name", "dicom_id", "img"),
    "image": ("Image Index", "image", "image_id", "image_name", "dicom_id", "image_path", "Path",
              "filename", "file_path", "file", "img", "index", "id"),
    "patient": ("patient_id", "subject_id", "patient", "subject"),
    "study": ("study_id", "study", "StudyInstanceUID", "study_uid", "exam_id", "accession_number"),
    "split": ("split", "part", "fold", "Set Id"),
    "age": ("Age", "Patient Age"),
    "sex": ("Sex", "Gender", "Patient Sex", "Patient Gender"),
    "view": ("View", "View Position", "Projection", "AP/PA"),
    "side": ("Frontal/Lateral",),  # of CheXpert, whose lateral views have a blank in AP/PA
}  # fmt: skip
# other columns of NIH's table, whose names with commas in brackets may be split
OTHERS = ("Finding Labels", "Follow-up #", "OriginalImage[Width", "OriginalImageWidth", "Height]",
          "OriginalImageHeight", "OriginalImagePixelSpacing[x", "y]", "OriginalImagePixelSpacingX",
          "OriginalImagePixelSpacingY")  # fmt: skip
KNOWN = frozenset(plain_name(name) for names in (*ROLES.values(), OTHERS, ("",)) for name in names)


def has_other_meaning(column: str) -> bool:
    """Whether a column is not about a finding, by its name."""
    return column.startswith(NAMELESS) or plain_name(column) in KNOWN


def choose_column(raw: pd.DataFrame, names: Iterable[str]) -> str | None:
    """Return the first of the names that the table has, or has in other letters and signs."""
    wanted = list(names)
    exact = next((name for name in wanted if name in raw.columns), None)
    if exact is not None:
        return exact
    plain = {plain_name(str(name)): str(name) for name in reversed(raw.columns)}
    return next((plain[plain_name(name)] for name in wanted if plain_name(name) in plain), None)


def need_column(raw: pd.DataFrame, names: Iterable[str], path: Path, hint: str) -> str:
    """Return the first of the names that the table has; raise naming what was there.

    Other letters and signs are accepted where there are several usual names, and not for one that
    the user or the data set's authors gave.
    """
    wanted = list(names)
    exact = wanted[0] if wanted[0] in raw.columns else None
    found = choose_column(raw, wanted) if len(wanted) > 1 else exact
    if found is None:
        raise UsageError(f"{path} has no column {wanted[0]!r}. Found: {few(raw.columns)}.", hint)
    return found


def image_column(raw: pd.DataFrame, path: Path) -> str:
    """Return the column of image names; raises `UsageError` where there is none."""
    column, first = choose_column(raw, ROLES["image"]), str(raw.columns[0])
    if column is None and first.startswith(NAMELESS):
        column = first  # as a table's index is written
    if column is None:
        said = f"{path} has no column of image names. Found: {few(raw.columns)}."
        raise UsageError(said, "Call it 'Image Index', 'image' or 'path'.")
    return column


def image_keys(column: "pd.Series[str]", path: Path) -> NDArray[np.str_]:
    """Return images' names without ending, as they are matched (N,).

    Raises `UsageError` for an empty name and for an image that stands there twice.
    """
    keys = pd.Series([image_key(name) for name in column.tolist()], index=column.index, dtype=str)
    empty = np.flatnonzero(keys == "")
    if len(empty):
        raise UsageError(f"{path}, row {row_number(keys, empty[0])}: the image has no name.")
    refuse_repeated(keys, path)
    return keys.to_numpy(dtype=str)


@dataclass(frozen=True)
class People:
    """What a table says of the N patients of its images, and what was noticed."""

    age: NDArray[np.float64]  # years, NaN: unknown
    sex: NDArray[np.str_]  # M, F or nothing
    view: NDArray[np.str_]
    notes: tuple[str, ...]


def read_people(raw: pd.DataFrame) -> People:
    """Read age, sex and view of each image where the table knows them."""
    nothing = pd.Series("", index=raw.index)
    chosen = {role: choose_column(raw, ROLES[role]) for role in ("age", "sex", "view", "side")}
    columns = {role: raw[name] if name else nothing for role, name in chosen.items()}
    ages, notes = read_ages(columns["age"])
    views, sides = read_views(columns["view"]), columns["side"].str.lower()
    views = views.where(sides != "lateral", "L")
    # 17 frontal images of CheXpert have LL or RL beside it
    views = views.where((sides != "frontal") | views.isin(("PA", "AP")), "")
    sexes = read_sexes(columns["sex"])
    return People(ages, sexes.to_numpy(dtype=str), views.to_numpy(dtype=str), notes)


def read_studies(raw: pd.DataFrame, images: str) -> NDArray[np.str_] | None:
    """Return the study of each image (N,), the image itself where the cell is blank.

    images: the column of their names. None is returned where no column names studies.
    """
    column = choose_column(raw, ROLES["study"])
    if column is None:
        return None
    blank = each_text(raw[column], is_blank).astype(bool)
    return raw[column].mask(blank, raw[images]).to_numpy(dtype=str)


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


def decimal_numbers(column: "pd.Series[str]", name: str, path: Path) -> NDArray[np.float64]:
    """Return a column as numbers (N,), exactly; raises `UsageError` naming the cell."""
    text = column.to_numpy(dtype=str)
    try:
        return text.astype(np.float64)
    except ValueError:
        row = next(i for i, cell in enumerate(text) if not is_number(cell))
        raise UsageError(
            f"{path}, row {row_number(column, row)}, column {name!r}: should be a number. "
            f"Found {str(text[row])!r}.",
            "Every image needs a score for every finding.",
        ) from None


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


def refuse_names(names: "pd.Series[str]", width: int, path: Path, what: str = "image name") -> None:
    """Raise `UsageError` for names that a shard cannot keep apart in `width` bytes."""
    plain = [
        name.isascii() and name.isprintable() and len(name) <= width for name in names.tolist()
    ]
    wrong = np.flatnonzero(~np.array(plain, dtype=bool))
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(names, wrong[0])}: {what} {names.iloc[wrong[0]]!r} is not "
            f"plain ASCII of at most {width} characters."
        )


def refuse_repeated(names: "pd.Series[str]", path: Path) -> None:
    """Raise `UsageError` with the rows of an image that has more than one."""
    repeated = names[names.duplicated(keep=False)]
    if len(repeated):
        places = np.flatnonzero(names == repeated.iloc[0])
        rows = few(row_number(names, place) for place in places)
        more = repeated.nunique() - 1
        raise UsageError(
            f"{path}: image {repeated.iloc[0]!r} stands in rows {rows}"
            + (f", and {more:,} other images are repeated too." if more else "."),
            "Each image has one row; remove the others.",
        )
