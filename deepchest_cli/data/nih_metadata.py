"""The metadata table of NIH ChestX-ray14 in any of its forms.

Column names and their variants: Wang et al., CVPR 2017, and the copies in circulation (the Box
download of 2017 and of 2020, the Kaggle sample).
"""

import csv
import re
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.findings import FINDINGS, parse_labels
from deepchest_cli.data.nih_layout import METADATA_FILES
from deepchest_cli.data.shards import TEXT_COLUMNS
from deepchest_cli.errors import UsageError

# our name: (required, spellings); commas inside NIH's brackets split one name into two columns
COLUMNS: dict[str, tuple[bool, tuple[str, ...]]] = {
    "image_index": (True, ("Image Index",)),
    "labels": (True, ("Finding Labels",)),
    "patient_id": (True, ("Patient ID",)),
    "follow_up": (False, ("Follow-up #",)),
    "age": (False, ("Patient Age",)),
    "sex": (False, ("Patient Gender", "Patient Sex")),
    "view": (False, ("View Position",)),
    "original_width": (False, ("OriginalImage[Width", "OriginalImageWidth")),
    "original_height": (False, ("Height]", "OriginalImageHeight")),
}
# Pneumonia positives in the whole table of 112,120 rows tell the two label versions apart
LABEL_VERSIONS = {1353: "2017", 1431: "2020"}
WHOLE_TABLE = 112_120
LARGEST_ID = 2**53  # beyond it a table read as numbers loses digits
OLDEST = 120  # years; the 2017 table holds ages up to 414
AGE = re.compile(r"0*(\d{1,3})([YMWD]?)")
YEARS = {"": 1.0, "Y": 1.0, "M": 1 / 12, "W": 7 / 365.25, "D": 1 / 365.25}


@dataclass(frozen=True)
class Metadata:
    """One row per image, sorted by image index, and what was noticed while reading."""

    # image_index, patient_id, follow_up, age, sex, view, original_width, original_height, and a
    # column of 0 and 1 for each finding
    table: pd.DataFrame
    label_version: str
    warnings: tuple[str, ...]


def read_metadata(path: Path) -> Metadata:
    """Read a metadata table; errors name the row (the header is row 1) and the column."""
    raw = _read_columns(path)
    noticed: list[str] = []
    table = pd.DataFrame({"image_index": raw["image_index"].str.strip()})
    _refuse_long_names(table["image_index"], path)
    _refuse_repeated(table["image_index"], path)
    table["patient_id"] = _integers(raw["patient_id"], "Patient ID", path)
    optional = raw.reindex(columns=list(COLUMNS), fill_value="").fillna("")
    for name in ("follow_up", "original_width", "original_height"):
        numbers = pd.to_numeric(optional[name], errors="coerce")
        table[name] = numbers.where(numbers.between(0, 2**31 - 1), -1).astype(np.int32)
    table["age"] = [_years(text) for text in optional["age"]]
    table["sex"] = (
        optional["sex"].str.strip().str.upper().str[:1].where(lambda s: s.isin(("M", "F")), "")
    )
    table["view"] = optional["view"].str.strip().str.upper().str[: TEXT_COLUMNS["view"]]
    _note_unknown_ages(table["age"], optional["age"], noticed)
    positives = [_labels(text, row, path) for row, text in enumerate(raw["labels"], start=2)]
    for finding in FINDINGS:
        table[finding] = np.array([finding in found for found in positives], dtype=np.uint8)
    version = _label_version(table, path)
    return Metadata(table.sort_values("image_index", ignore_index=True), version, tuple(noticed))


def _read_columns(path: Path) -> pd.DataFrame:
    """Return the known columns as text, under our names."""
    start = path.read_bytes()[:64]
    if not start.strip():
        raise UsageError(f"{path} is empty.", "Download it again.")
    if start.startswith(b"version https://git-lfs"):
        raise UsageError(f"{path} is a Git LFS pointer, not the table.", "Run: git lfs pull")
    try:
        with warnings.catch_warnings():
            # rows of NIH's newest table end in a comma, with and without one in the header
            warnings.simplefilter("ignore", pd.errors.ParserWarning)
            raw = pd.read_csv(
                path, dtype=str, keep_default_na=False, index_col=False, encoding="utf-8-sig"
            )
    except (
        pd.errors.ParserError,
        pd.errors.EmptyDataError,
        UnicodeDecodeError,
        csv.Error,
    ) as error:
        raise UsageError(
            f"{path} is no readable CSV table: {error}.", "Download it again."
        ) from error
    names = {column.strip(): column for column in raw.columns}
    found = {
        ours: raw[names[spelling]]
        for ours, (_, spellings) in COLUMNS.items()
        for spelling in spellings
        if spelling in names
    }
    for ours, (required, spellings) in COLUMNS.items():
        if required and ours not in found:
            raise UsageError(
                f"{path} has no column {spellings[0]!r}. Found: {', '.join(names)}.",
                "Use NIH's own metadata table.",
            )
        if required:
            _refuse_blank(found[ours], spellings[0], path)
    if raw.empty:
        raise UsageError(f"{path} has a header and no rows.", "Download it again.")
    return pd.DataFrame(found)


def _refuse_blank(column: "pd.Series[str]", name: str, path: Path) -> None:
    blank = column.isna() | (column.fillna("").str.strip() == "")
    if blank.any():
        row = int(np.flatnonzero(blank)[0]) + 2
        raise UsageError(
            f"{path}, row {row}: column {name!r} is empty.",
            "The file is cut short or damaged; download it again.",
        )


def _refuse_long_names(names: "pd.Series[str]", path: Path) -> None:
    """A shard keeps names in a fixed width, and cutting one could make two alike."""
    width = TEXT_COLUMNS["image_index"]
    for row, name in enumerate(names, start=2):
        if len(name) > width or not name.isascii():
            raise UsageError(
                f"{path}, row {row}: image name {name!r} is not plain ASCII of at most "
                f"{width} characters."
            )


def _refuse_repeated(names: "pd.Series[str]", path: Path) -> None:
    repeated = names[names.duplicated(keep=False)]
    if len(repeated):
        rows = [str(int(str(row)) + 2) for row in repeated.index[repeated == repeated.iloc[0]]]
        raise UsageError(
            f"{path}: image {repeated.iloc[0]!r} stands in rows {', '.join(rows)}.",
            "Each image has one row; remove the others.",
        )


def _integers(column: "pd.Series[str]", name: str, path: Path) -> "pd.Series[int]":
    numbers = pd.to_numeric(column, errors="coerce")
    wrong = np.flatnonzero(~numbers.between(0, LARGEST_ID) | (numbers % 1 != 0))
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"{path}, row {row + 2}: column {name!r} should be a whole number from 0. "
            f"Found {column.iloc[row]!r}."
        )
    return numbers.astype(np.int64)


def _labels(text: str, row: int, path: Path) -> frozenset[str]:
    try:
        return parse_labels(text)
    except ValueError as error:
        raise UsageError(
            f"{path}, row {row}: column 'Finding Labels': {error}.",
            f"Known findings: {', '.join(FINDINGS)}.",
        ) from error


def _years(text: str) -> float:
    """Return an age such as `58`, `060Y`, `013M` or `001D` in years; NaN where it is impossible."""
    match = AGE.fullmatch(text.strip().upper())
    years = float(match[1]) * YEARS[match[2]] if match else np.nan
    return years if years <= OLDEST else np.nan


def _note_unknown_ages(
    ages: "pd.Series[float]", texts: "pd.Series[str]", noticed: list[str]
) -> None:
    wrong = texts[ages.isna() & (texts.str.strip() != "")]
    if len(wrong):
        noticed.append(
            f"{len(wrong)} impossible ages (the first is {wrong.iloc[0]!r}) are taken as unknown; "
            "the images stay."
        )


def _label_version(table: pd.DataFrame, path: Path) -> str:
    if len(table) == WHOLE_TABLE:
        return LABEL_VERSIONS.get(int(table["Pneumonia"].sum()), "unknown")
    return {METADATA_FILES[0]: "2020", METADATA_FILES[1]: "2017"}.get(path.name, "unknown")
