"""Labels as NIH's metadata table, as one column for each finding, or as MedMNIST's arrays."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.findings import FINDINGS, is_healthy, plain_name
from deepchest_cli.data.matching import image_key, match_images
from deepchest_cli.data.sources.nih_metadata import read_metadata
from deepchest_cli.data.tabular.cells import patient_numbers
from deepchest_cli.data.tabular.columns import (
    ROLES,
    choose_column,
    has_other_meaning,
    image_column,
    image_keys,
    read_people,
    read_studies,
    refuse_blank,
)
from deepchest_cli.data.tabular.finding_columns import without_affix
from deepchest_cli.data.tabular.label_map import read_label_columns
from deepchest_cli.data.tabular.labels import has_labels
from deepchest_cli.data.tabular.tables import STANDARD_INPUT, blank_rows, read_table
from deepchest_cli.errors import UsageError
from deepchest_cli.evaluation.predictions import Predictions, ScoredImages
from deepchest_cli.evaluation.reading.medmnist import read_medmnist_labels
from deepchest_cli.evaluation.reading.scores import Scores

NIH_NAME = re.compile(r"(\d{8})_\d{3}")  # the patient and the follow-up


@dataclass(frozen=True)
class Labels:
    """What is known of M images."""

    path: Path
    images: NDArray[np.str_]  # (M,), as the file has them, in their order
    findings: tuple[str, ...]
    labels: NDArray[np.uint8]  # (M, T)
    known: NDArray[np.uint8]  # (M, T)
    patient_id: NDArray[np.int64] | None  # (M,)
    age: NDArray[np.float64]
    sex: NDArray[np.str_]
    view: NDArray[np.str_]
    study: NDArray[np.str_] | None = None  # (M,), where the file says
    label_version: str = "unknown"
    notes: tuple[str, ...] = ()

    def scored(
        self,
        rows: NDArray[np.int64],
        findings: Mapping[str, str],
        probabilities: NDArray[np.float64],
        patients: NDArray[np.int64],
    ) -> ScoredImages:
        """Return some images with probabilities (n, T) of findings: as predicted, as labeled here.

        patients: (M,), of all images.
        """
        columns = [self.findings.index(name) for name in findings.values()]
        labels, known = self.labels[rows][:, columns], self.known[rows][:, columns]
        table = Predictions(tuple(findings), probabilities, labels, known, patients[rows])
        people = (self.age[rows], self.sex[rows], self.view[rows])
        studies = None if self.study is None else self.study[rows]
        return ScoredImages(table, self.images[rows], *people, studies)


def read_labels(path: Path, split: str = "test") -> Labels:
    """Read a file of labels; `split` says which of MedMNIST's arrays.

    Raises `UsageError`, naming row and column, for whatever is no label.
    """
    if path == STANDARD_INPUT:
        raise UsageError("--labels cannot be read from standard input.", "Name a file.")
    if path.suffix == ".npz":
        return _of_arrays(path, read_medmnist_labels(path, split))
    raw = read_table(path)
    is_nihs = "findinglabels" in {plain_name(column) for column in raw.columns}
    labels = _of_metadata(path, raw) if is_nihs else _of_columns(path, raw)
    # as images stand in shards: sums depend on their order in the last bit
    order = np.argsort(labels.images, kind="stable")
    arrays: dict[str, Any] = {
        field.name: values[order]
        for field in fields(labels)
        if isinstance(values := getattr(labels, field.name), np.ndarray)
    }
    return replace(labels, **arrays)


def with_studies(labels: Labels, several: Iterable[Scores | None]) -> Labels:
    """Return the labels with the studies that files of predictions name, where they name none."""
    named = [one for one in several if one is not None and one.study is not None]
    if labels.study is not None or not named:
        return labels
    images = labels.images.tolist()
    studies = list(images)
    for one in named:
        assert one.study is not None
        places = match_images(one.images.tolist(), images, one.path)
        for study, place in zip(one.study.tolist(), places, strict=True):
            if place is not None:
                studies[place] = study
    return replace(labels, study=np.array(studies, dtype=str))


def _of_arrays(path: Path, labels: NDArray[np.uint8]) -> Labels:
    empty = np.full(len(labels), "")
    return Labels(
        path=path,
        images=np.arange(len(labels)).astype(str),
        findings=FINDINGS,
        labels=labels,
        known=np.ones_like(labels),
        patient_id=None,
        age=np.full(len(labels), np.nan),
        sex=empty,
        view=empty,
        label_version="2017",
    )


def _of_metadata(path: Path, raw: pd.DataFrame) -> Labels:
    metadata = read_metadata(path, raw)
    table = metadata.table
    labels = table[list(FINDINGS)].to_numpy(dtype=np.uint8)
    return Labels(
        path=path,
        images=_names(table["image_index"], path),
        findings=FINDINGS,
        labels=labels,
        known=np.ones_like(labels),
        patient_id=table["patient_id"].to_numpy(dtype=np.int64),
        age=table["age"].to_numpy(dtype=np.float64),
        sex=table["sex"].to_numpy(dtype=str),
        view=table["view"].to_numpy(dtype=str),
        study=_names(table["image_index"], path),  # of a single image each, by the follow-up
        label_version=metadata.label_version,
        notes=metadata.warnings,
    )


def _of_columns(path: Path, raw: pd.DataFrame) -> Labels:
    image = image_column(raw, path)
    table, notes = without_affix(raw, {image}, path)
    columns = [
        column
        for column in map(str, table.columns)
        if not (column == image or has_other_meaning(column) or is_healthy(column))
        and has_labels(table[column])  # others are dates, sizes, names
    ]
    read = read_label_columns(table, columns, path)
    people = read_people(table)
    return Labels(
        path=path,
        images=_names(table[image], path),
        findings=read.findings,
        labels=read.labels,
        known=read.known,
        patient_id=_patients(table, path),
        age=people.age,
        sex=people.sex,
        view=people.view,
        study=read_studies(table, image),
        notes=(*people.notes, *notes, *blank_rows(raw, path)),
    )


def _names(column: "pd.Series[str]", path: Path) -> NDArray[np.str_]:
    """Return the images (M,); raises `UsageError` as `image_keys` does."""
    image_keys(column, path)
    return column.to_numpy(dtype=str)


def _patients(table: pd.DataFrame, path: Path) -> NDArray[np.int64] | None:
    """Return the number of each image's patient (M,), the same as in shards."""
    column = choose_column(table, ROLES["patient"])
    if column is None:
        return None
    refuse_blank(table[column], path)
    return patient_numbers(table[column])


def nih_patients(images: list[str]) -> list[int] | None:
    """Return the patients in NIH's file names; None where a name is none of NIH's."""
    matches = [NIH_NAME.fullmatch(image_key(name).rsplit("/", 1)[-1]) for name in images]
    return [int(match[1]) for match in matches if match] if all(matches) else None


def patients_of(labels: Labels) -> tuple[NDArray[np.int64], str]:
    """Return the patient of each image (M,), and how it is known where no column says.

    NIH's file names begin with the patient's number. Without that, every study, or where these are
    not known every image, is a patient of its own, and intervals are too narrow if it is not.
    """
    if labels.patient_id is not None:
        return labels.patient_id, ""
    numbers = nih_patients(labels.images.tolist())
    said = f"{labels.path} has no column of patients:"
    if numbers is not None:
        return np.array(numbers, dtype=np.int64), f"{said} they are taken from NIH's file names."
    unit = "image" if labels.study is None else "study"
    patients = np.arange(len(labels.images))
    if labels.study is not None:
        patients = patient_numbers(pd.Series(labels.study))
    return patients, (
        f"{said} every {unit} counts as a patient of its own, and intervals are too narrow where "
        "patients have several."
    )
