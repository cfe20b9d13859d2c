"""Labels as NIH's metadata table, as one column for each finding, or as MedMNIST's arrays."""

import re
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.cells import (
    ABSENT,
    PRESENT,
    each_text,
    is_blank,
    label_state,
    read_ages,
    read_sexes,
    read_views,
)
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.nih_metadata import read_metadata
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.reading.finding_columns import only_labels
from deepchest_cli.evaluation.reading.medmnist import read_medmnist_labels
from deepchest_cli.evaluation.reading.tables import (
    OTHERS,
    STANDARD_INPUT,
    find_column,
    image_column,
    image_keys,
    plain,
    plain_finding,
    read_table,
)

NIH_NAME = re.compile(r"(\d{8})_\d{3}")  # the patient and the follow-up


@dataclass(frozen=True)
class Labels:
    """What is known of M images."""

    path: Path
    images: NDArray[np.str_]  # (M,), without folder and ending
    findings: tuple[str, ...]
    labels: NDArray[np.uint8]  # (M, T)
    known: NDArray[np.uint8]  # (M, T)
    patient_id: NDArray[np.int64] | None  # (M,)
    age: NDArray[np.float64]
    sex: NDArray[np.str_]
    view: NDArray[np.str_]
    label_version: str = "unknown"
    notes: tuple[str, ...] = ()


def read_labels(path: Path, part: str = "test") -> Labels:
    """Read a file of labels; `part` says which of MedMNIST's arrays.

    Raises `UsageError`, naming row and column, for whatever is no label.
    """
    if path == STANDARD_INPUT:
        raise UsageError("--labels cannot be read from standard input.", "Name a file.")
    if path.suffix == ".npz":
        return _of_arrays(path, read_medmnist_labels(path, part))
    columns = read_table(path, rows=1).columns
    if "findinglabels" in {plain(str(column)) for column in columns}:
        return _of_metadata(path)
    table = read_table(path)
    table, notes = only_labels(table, image_column(table, path), path)
    found = _of_columns(table, path)
    return replace(found, notes=(*found.notes, *notes))


def _of_arrays(path: Path, labels: NDArray[np.uint8]) -> Labels:
    empty = np.full(len(labels), "")
    return Labels(
        path,
        np.arange(len(labels)).astype(str),
        FINDINGS,
        labels,
        np.ones_like(labels),
        None,
        np.full(len(labels), np.nan),
        empty,
        empty,
        "2017",
    )


def _of_metadata(path: Path) -> Labels:
    metadata = read_metadata(path)
    table = metadata.table
    labels = table[list(FINDINGS)].to_numpy(dtype=np.uint8)
    return Labels(
        path,
        image_keys(list(table["image_index"]), path),
        FINDINGS,
        labels,
        np.ones_like(labels),
        table["patient_id"].to_numpy(dtype=np.int64),
        table["age"].to_numpy(dtype=np.float64),
        table["sex"].to_numpy(dtype=str),
        table["view"].to_numpy(dtype=str),
        metadata.label_version,
        metadata.warnings,
    )


def _of_columns(table: pd.DataFrame, path: Path) -> Labels:
    images = image_keys(list(table[image_column(table, path)]), path)
    roles = {role: find_column(table, role) for role in ("patient", "age", "sex", "view", "split")}
    taken = {image_column(table, path), *roles.values()}
    known_names = {plain_finding(name): name for name in FINDINGS}
    labels, known, findings = [], [], []
    for column in map(str, table.columns):
        if column in taken or plain(column) in OTHERS or plain(column).startswith("unnamed"):
            continue
        states = each_text(table[column], label_state)
        strange = states.isna()
        if strange.all():
            continue  # something else than labels: dates, sizes, names
        if strange.any():
            row = int(np.flatnonzero(strange)[0])
            raise UsageError(
                f"{path}, row {row + 2}, column {column!r}: found {table[column].iloc[row]!r}.",
                "Labels are 0 or 1; an empty cell or -1 is unknown. Remove columns that are none.",
            )
        finding = known_names.get(plain_finding(column), column)
        if finding in findings:
            raise UsageError(f"{path} has two columns about {finding!r}.", "Keep one of them.")
        findings.append(finding)
        labels.append((states == PRESENT).to_numpy(dtype=np.uint8))
        known.append(states.isin((PRESENT, ABSENT)).to_numpy(dtype=np.uint8))
    if not findings:
        raise UsageError(
            f"{path} has no column of labels.",
            "Give NIH's metadata table, or a column of 0 and 1 for each finding.",
        )
    columns = {role: _text(table, column) for role, column in roles.items()}
    ages, notes = read_ages(columns["age"])
    return Labels(
        path,
        images,
        tuple(findings),
        np.stack(labels, axis=1),
        np.stack(known, axis=1),
        _patients(table, roles["patient"], path),
        ages,
        read_sexes(columns["sex"]).to_numpy(dtype=str),
        read_views(columns["view"]).to_numpy(dtype=str),
        notes=notes,
    )


def _patients(table: pd.DataFrame, column: str | None, path: Path) -> NDArray[np.int64] | None:
    if column is None:
        return None
    blank = np.flatnonzero(each_text(table[column], is_blank).to_numpy(dtype=bool))
    if len(blank):
        raise UsageError(
            f"{path}, row {blank[0] + 2}: column {column!r} is empty.",
            "Name every image's patient, or remove the column: then each image is one of its own.",
        )
    codes = np.unique(table[column].str.strip().to_numpy(dtype=str), return_inverse=True)[1]
    return np.asarray(codes.reshape(-1), dtype=np.int64)


def _text(table: pd.DataFrame, column: str | None) -> "pd.Series[str]":
    """Return a column, or empty texts where there is none."""
    return pd.Series([""] * len(table)) if column is None else table[column].str.strip()


def patients_of(labels: Labels) -> tuple[NDArray[np.int64], str]:
    """Return the patient of each image (M,), and how it is known where no column says.

    NIH's file names begin with the patient's number. Without that, every image is a patient of its
    own, and intervals are too narrow if it is not.
    """
    if labels.patient_id is not None:
        return labels.patient_id, ""
    matches = [NIH_NAME.fullmatch(name.rsplit("/", 1)[-1]) for name in labels.images.tolist()]
    if all(matches):
        return np.array([int(m[1]) for m in matches if m], dtype=np.int64), (
            f"{labels.path} has no column of patients: they are taken from NIH's file names."
        )
    return np.arange(len(labels.images)), (
        f"{labels.path} has no column of patients: every image counts as a patient of its own, and "
        "intervals are too narrow where patients have several."
    )
