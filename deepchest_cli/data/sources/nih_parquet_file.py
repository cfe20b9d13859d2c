"""One Parquet file of NIH ChestX-ray14: a row for each image, under NIH's names of columns.

The forms that are read (as of October 2026): `timm/nih-chest-xray-14` (`image_id`, `labels` as
class numbers and `label_names`, both empty for No Finding, patient, follow-up, age, sex, view and
original size), `BahaaEldin0/NIH-Chest-Xray-14` (`label` as names, `Patient ID`, no names of
images), `Sohaibsoussi/NIH-Chest-X-ray-dataset-small` and other conversions of
`alkzar90/NIH-Chest-X-ray-dataset` (`labels` as class numbers, 0 is No Finding), and
`chehablab/NIHChestXR` (`patient_id` and `scan_id` name the image).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.findings import FINDINGS, NO_FINDING, finding_name, is_healthy
from deepchest_cli.data.parquet import image_column, leaf_texts, open_parquet, text_columns
from deepchest_cli.data.tabular.cells import ABSENT, PRESENT, SPLIT_NAMES, each_text, read_splits
from deepchest_cli.data.tabular.columns import ROLES, choose_column, whole_numbers
from deepchest_cli.data.tabular.labels import read_cells
from deepchest_cli.data.tabular.tables import row_number
from deepchest_cli.data.text import few
from deepchest_cli.errors import UsageError

NIH_NAME = re.compile(r"^(?:.*[/\\])?(\d{8}_\d{3})(?:\.\w+)?$")
IMAGE, LABELS, PATIENT, FOLLOW_UP = "Image Index", "Finding Labels", "Patient ID", "Follow-up #"
NAMES = (IMAGE, "image_id", "image_name", "file_name", "filename", "image_file_path", "image_path")
# NIH's name of a column to those that copies have; case, spaces and signs do not matter
COLUMNS = {
    LABELS: (LABELS, "label_names", "labels", "label"),
    PATIENT: (PATIENT, *ROLES["patient"]),
    FOLLOW_UP: (FOLLOW_UP,),
    "Patient Age": ROLES["age"],
    "Patient Gender": ROLES["sex"],
    "View Position": ROLES["view"],
    "OriginalImageWidth": ("OriginalImageWidth", "OriginalImage[Width", "original_width"),
    "OriginalImageHeight": ("OriginalImageHeight", "Height]", "original_height"),
}
SCAN = "scan_id"  # the second number of NIH's name; `Follow-up #` differs from it in 24,106 images
SPLIT = "split"
NUMBERS = re.compile(r"[\d|.]*")  # class numbers without names


@dataclass(frozen=True)
class Part:
    """One file: a row for each image, as text under NIH's names as far as the file has them."""

    path: Path
    table: pd.DataFrame

    def lacks(self, column: str) -> bool:
        """Whether the file does not say this of its images."""
        return column not in self.table


def read_part(path: Path) -> Part:
    """Read all of a file but its images; raises `UsageError` naming the row of what is wrong."""
    file = open_parquet(path)
    images, rows = image_column(file), file.metadata.num_rows
    if images is None:
        raise UsageError(
            f"{path} has no column of images. Found: {few(file.schema_arrow.names)}.",
            "Put only the files with images into the folder, or read a table of another data set "
            "with --labels-csv.",
        )
    if not rows:
        raise UsageError(f"{path} has no rows.", "Download it again, or take it out.")
    raw = pd.DataFrame(text_columns(path, file), index=range(-1, rows - 1), dtype=str)
    chosen = {ours: choose_column(raw, names) for ours, names in COLUMNS.items()}
    table = pd.DataFrame({ours: raw[name] for ours, name in chosen.items() if name})
    table = table.reindex(raw.index)
    labels = _labels(raw, table, path)
    if labels is not None:
        table[LABELS] = labels
    elif LABELS in table:
        del table[LABELS]
    given = [raw[name] for name in [choose_column(raw, NAMES)] if name]
    if images.path_leaf:
        given.append(pd.Series(leaf_texts(path, file, images.path_leaf), index=raw.index))
    names = _names(given, path)
    if names is None and SCAN in raw and PATIENT in table:
        names = _built_names(table[PATIENT], raw[SCAN], path)
    if names is not None:
        table[IMAGE] = names
    table[SPLIT] = _splits(raw, path)
    return Part(path, table)


def _labels(raw: pd.DataFrame, table: pd.DataFrame, path: Path) -> "pd.Series[str] | None":
    """Return NIH's `A|B` for each row; None: there are no labels, or numbers without names."""
    if LABELS in table:
        texts = table[LABELS]
        numbers = texts.map(lambda text: text == NO_FINDING or bool(NUMBERS.fullmatch(text)))
        return None if numbers.all() and (texts != NO_FINDING).any() else each_text(texts, _named)
    columns = {finding_name(name): name for name in raw.columns}
    if not set(FINDINGS) <= set(columns):
        return None
    cells = np.stack([read_cells(raw[columns[name]], path) for name in FINDINGS], axis=1)
    unknown = np.argwhere((cells != PRESENT) & (cells != ABSENT))
    if len(unknown):
        row, column = unknown[0]
        raise UsageError(f"{path}, row {row + 1}: column {FINDINGS[column]!r} should be 0 or 1.")
    lists = ["|".join(np.array(FINDINGS)[row == PRESENT]) or NO_FINDING for row in cells]
    return pd.Series(lists, index=raw.index, dtype=str)


def _named(text: str) -> str:
    """Return labels such as `Pleural Thickening|normal` with NIH's names."""
    names = [name for name in text.split("|") if name.strip()]
    return "|".join(NO_FINDING if is_healthy(name) else finding_name(name) for name in names)


def _names(given: list["pd.Series[str]"], path: Path) -> "pd.Series[str] | None":
    """Return NIH's name of each image, whatever its folder and suffix; None: no column has it."""
    for texts in given:
        names = texts.str.extract(NIH_NAME, expand=False)
        if names.notna().any():
            odd = texts[names.isna()]
            if len(odd):
                raise UsageError(
                    f"{path}, row {row_number(odd, 0)}: {odd.iloc[0]!r} is no name such as "
                    "00000001_000.png, and others are.",
                )
            return names + ".png"
    return None


def _built_names(
    patients: "pd.Series[str]", scans: "pd.Series[str]", path: Path
) -> "pd.Series[str]":
    numbers = zip(whole_numbers(patients, path), whole_numbers(scans, path), strict=True)
    built = [f"{patient:08d}_{scan:03d}.png" for patient, scan in numbers]
    return pd.Series(built, index=patients.index, dtype=str)


def _splits(raw: pd.DataFrame, path: Path) -> "pd.Series[str]":
    """Return the split that a column `split` says, else the file's name or its folder's."""
    column = choose_column(raw, (SPLIT,))
    if column is None:
        words = (re.match("[a-z_]*", word.lower()) for word in (path.stem, path.parent.name))
        names = (SPLIT_NAMES.get(word[0].strip("_"), "") for word in words if word)
        return pd.Series(next(filter(None, names), ""), index=raw.index)
    splits = read_splits(raw[column])
    wrong = raw[column][~splits.isin((*SPLIT_NAMES.values(), "")).to_numpy()]
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(wrong, 0)}: column {column!r}: {wrong.iloc[0]!r} is no split."
        )
    return splits
