"""The files of NIH ChestX-ray14: which is which, and its metadata table in any of its forms.

Column names and their variants: Wang et al., CVPR 2017, and the copies in circulation (the Box
download of 2017 and of 2020, the Kaggle sample).
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS, parse_labels
from deepchest_cli.data.shards import LONGEST_NAME, TEXT_COLUMNS
from deepchest_cli.data.tabular.cells import read_ages, read_sexes, read_views
from deepchest_cli.data.tabular.columns import (
    choose_column,
    need_column,
    refuse_blank,
    refuse_names,
    refuse_repeated,
    whole_numbers,
)
from deepchest_cli.data.tabular.tables import blank_rows, read_table, row_number
from deepchest_cli.errors import UsageError

# tables of labels, the newest first
METADATA_FILES = ("Data_Entry_2017_v2020.csv", "Data_Entry_2017.csv", "sample_labels.csv")
SPLIT_LISTS = {"train_val": "train_val_list.txt", "test": "test_list.txt"}

BOX_FILE = "BBox_List_2017.csv"
BOX_FRAME = 1024.0  # pixels; boxes are given on the 1024 px PNG files, whatever a copy's size
# the table of boxes spells one finding differently from the table of labels
BOX_SPELLINGS = {"Infiltrate": "Infiltration"}
# the eight findings of the first release, ChestX-ray8, are the ones with boxes
BOXED_FINDINGS = frozenset(
    {"Atelectasis", "Cardiomegaly", "Effusion", "Infiltration", "Mass", "Nodule", "Pneumonia",
     "Pneumothorax"}
)  # fmt: skip
# our name to its spellings; commas inside NIH's brackets split one name into two columns
REQUIRED = {
    "image_index": ("Image Index",), "labels": ("Finding Labels",), "patient_id": ("Patient ID",),
}  # fmt: skip
OPTIONAL = {
    "follow_up": ("Follow-up #",),
    "age": ("Patient Age",),
    "sex": ("Patient Gender", "Patient Sex"),
    "view": ("View Position",),
    "original_width": ("OriginalImage[Width", "OriginalImageWidth"),
    "original_height": ("Height]", "OriginalImageHeight"),
}
# Pneumonia positives in the whole table of 112,120 rows tell the two label versions apart
LABEL_VERSIONS = {1353: "2017", 1431: "2020"}
WHOLE_TABLE = 112_120
NAMED_AFTER_PATIENT = r"(\d{8})_\d{3}\.\w+"  # NIH's file names begin with the patient's number


@dataclass(frozen=True)
class Metadata:
    """One row per image, sorted by image index, and what was noticed while reading."""

    # image_index, patient_id, follow_up, age, sex, view, original_width, original_height, and a
    # column of 0 and 1 for each finding
    table: pd.DataFrame
    label_version: str
    warnings: tuple[str, ...]


def read_metadata(path: Path, raw: pd.DataFrame | None = None) -> Metadata:
    """Read a metadata table; errors name the row (the header is row 1) and the column.

    raw: what the file holds, where it was read already.
    """
    raw, notes = _named_columns(read_table(path) if raw is None else raw, path)
    table = pd.DataFrame({"image_index": raw["image_index"]})
    refuse_names(table["image_index"], LONGEST_NAME, path)
    refuse_repeated(table["image_index"], path)
    table["patient_id"] = whole_numbers(raw["patient_id"].rename("Patient ID"), path)
    _refuse_other_patients(table, path)
    for name in ("follow_up", "original_width", "original_height"):
        numbers = pd.to_numeric(raw[name], errors="coerce")
        table[name] = numbers.where(numbers.between(0, 2**31 - 1), -1).astype(np.int32)
    ages, warnings = read_ages(raw["age"])
    table["age"] = ages
    table["sex"] = read_sexes(raw["sex"])
    table["view"] = read_views(raw["view"]).str[: TEXT_COLUMNS["view"]]
    positives = read_finding_labels(raw["labels"].rename("Finding Labels"), path)
    table[list(FINDINGS)] = positives
    version = label_version(table, path)
    ordered = table.sort_values("image_index", ignore_index=True)
    return Metadata(ordered, version, (*warnings, *notes))


def _named_columns(raw: pd.DataFrame, path: Path) -> tuple[pd.DataFrame, tuple[str, ...]]:
    """Return the known columns as text, under our names, and what was passed over."""
    found: dict[str, pd.Series[str]] = {}
    for ours, spellings in REQUIRED.items():
        column = need_column(raw, spellings, path, "Use NIH's own metadata table.")
        refuse_blank(raw[column], path)
        found[ours] = raw[column]
    for ours, others in OPTIONAL.items():
        optional = choose_column(raw, others)
        found[ours] = raw[optional] if optional else pd.Series("", index=raw.index)
    return pd.DataFrame(found), blank_rows(raw, path)


def read_finding_labels(column: "pd.Series[str]", path: Path) -> NDArray[np.uint8]:
    """Return labels such as `Mass|Hernia` as (N, 14); each distinct text is parsed once."""
    texts, first = np.unique(column.to_numpy(dtype=str), return_index=True)
    codes = {}
    for text, row in sorted(zip(texts, first, strict=True), key=lambda pair: int(pair[1])):
        try:
            found = parse_labels(str(text))
        except ValueError as error:
            raise UsageError(
                f"{path}, row {row_number(column, row)}: column {column.name!r}: {error}.",
                f"Known findings: {', '.join(FINDINGS)}.",
            ) from error
        codes[text] = [finding in found for finding in FINDINGS]
    return np.array([codes[text] for text in column], dtype=np.uint8)


def _refuse_other_patients(table: pd.DataFrame, path: Path) -> None:
    """A shifted or edited column of patients would let one patient into two splits."""
    named = table["image_index"].str.fullmatch(NAMED_AFTER_PATIENT).to_numpy(dtype=bool)
    numbers = table["image_index"][named].str[:8].astype(np.int64)
    wrong = numbers.index[numbers.to_numpy() != table["patient_id"][named].to_numpy()]
    if len(wrong):
        row = int(wrong[0])
        raise UsageError(
            f"{path}, row {row + 2}: {table['image_index'][row]} is of patient "
            f"{numbers[row]} by its name and of {table['patient_id'][row]} by 'Patient ID'.",
            "The columns are shifted or edited. Use NIH's own metadata table.",
        )


def label_version(table: pd.DataFrame, path: Path) -> str:
    """Return the year of the labels: by the whole table's Pneumonia, else by the file's name."""
    if len(table) == WHOLE_TABLE:
        return LABEL_VERSIONS.get(int(table["Pneumonia"].sum()), "unknown")
    name = path.name.removesuffix(".gz")
    return {METADATA_FILES[0]: "2020", METADATA_FILES[1]: "2017"}.get(name, "unknown")
