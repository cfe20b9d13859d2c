"""Any CSV table with a column of paths and columns of labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.cells import read_ages, read_sexes, read_views
from deepchest_cli.data.shards import LONGEST_NAME, TEXT_COLUMNS
from deepchest_cli.data.sources.base import OwnParts, Source, blank_table
from deepchest_cli.data.sources.label_values import (
    NO_DISEASE,
    Doubt,
    Policy,
    check_no_finding,
    is_healthy,
    looks_like_labels,
    name_findings,
    read_cells,
    resolve,
)
from deepchest_cli.data.sources.people import patient_numbers
from deepchest_cli.data.sources.tables import (
    blank_rows,
    choose_column,
    need_column,
    plain_name,
    refuse_blank,
    refuse_names,
    refuse_repeated,
)
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

PATHS = ("Path", "path", "image_path", "filename", "file", "Image Index", "image", "ImageID",
         "image_id", "dicom_id", "image_index")  # fmt: skip
PATIENTS = ("patient_id", "Patient ID", "PatientID", "subject_id", "patient")
AGES = ("Age", "age", "Patient Age", "PatientAge")
SEXES = ("Sex", "sex", "Gender", "Patient Sex", "Patient Gender", "PatientSex")
VIEWS = ("View", "view", "View Position", "ViewPosition", "Projection", "AP/PA")
SPLITS = ("split", "Split", "part")
SIDES = "Frontal/Lateral"  # of CheXpert, whose lateral views have a blank in AP/PA
ROLES = frozenset(map(plain_name, (*AGES, *SEXES, *VIEWS, *SPLITS, *PATIENTS, *PATHS, SIDES)))


@dataclass(frozen=True)
class CsvTable:
    """A table of text, one row per image, and which of its columns say what."""

    kind: str
    title: str
    raw: pd.DataFrame
    file: Path  # for messages
    hashed: tuple[Path, ...]
    images: Path
    names: str  # column of the images' names in the data set
    paths: str  # column of the images' files
    patients: str | None
    labels: tuple[str, ...]
    blank: Doubt = "ignore"
    own_scheme: str = "random"
    parts: str | None = None  # column of the source's own parts
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def generic_table(raw: pd.DataFrame, file: Path, config: PrepareConfig, images: Path) -> CsvTable:
    """Return a table whose columns are named by flags, or else known by their usual names."""
    hint = "--path-column, --patient-column and --label-columns name the columns."
    paths = need_column(raw, (config.path_column,) if config.path_column else PATHS, file, hint)
    patients = (
        need_column(raw, (config.patient_column,), file, hint)
        if config.patient_column
        else choose_column(raw, PATIENTS)
    )
    return CsvTable(
        kind="csv",
        title=f"the table {file.name}",
        raw=raw,
        file=file,
        hashed=(file,),
        images=images,
        names=paths,
        paths=paths,
        patients=patients,
        labels=_label_columns(raw, file, config, {paths, patients}),
        notes=blank_rows(raw, file),
    )


def _label_columns(
    raw: pd.DataFrame, file: Path, config: PrepareConfig, taken: set[str | None]
) -> tuple[str, ...]:
    if config.label_columns:
        wanted = [name.strip() for name in config.label_columns.split(",") if name.strip()]
        hint = "--label-columns takes names of columns, separated by commas."
        return tuple(need_column(raw, (name,), file, hint) for name in wanted)
    return tuple(
        name
        for name in raw.columns
        if name not in taken and plain_name(name) not in ROLES and looks_like_labels(raw[name])
    )


def unused_columns(raw: pd.DataFrame, table: CsvTable) -> tuple[str, ...]:
    """Return the columns of a table that nothing is made of."""
    used = {table.paths, table.patients, *table.labels}
    return tuple(
        name
        for name in raw.columns
        if name not in used and plain_name(name) not in ROLES and not is_healthy(name)
    )


def read_labels(table: CsvTable, config: PrepareConfig) -> Source:
    """Read a table's labels under the policies for doubtful cells, and what it says of patients.

    Raises `UsageError` naming row and column of what is missing, repeated or no label.
    """
    raw, file = table.raw, table.file
    for column in filter(None, (table.names, table.paths, table.patients)):
        refuse_blank(raw[column], file)
    names = raw[table.names]
    refuse_names(names, LONGEST_NAME, file)
    refuse_repeated(names, file)
    columns = [name for name in table.labels if not is_healthy(name)]
    findings = name_findings(columns, file)
    check_no_finding(findings, file)
    healthy = _healthy(raw, file)
    cells = np.stack([read_cells(raw[name], file) for name in columns], axis=1)
    policy = Policy(config.uncertain, config.blank or table.blank)
    labels, known = resolve(cells, healthy, findings, policy)
    rows = blank_table(names)
    rows["path"] = raw[table.paths].to_numpy()
    if table.patients:
        rows["patient_id"] = patient_numbers(raw[table.patients])
    else:
        rows["patient_id"] = patient_numbers(names)
    notes = _describe_people(rows, raw)
    order = np.argsort(names.to_numpy(dtype=str), kind="stable")
    parts = None if table.parts is None else raw[table.parts].to_numpy(dtype="<U10")[order]
    return Source(
        kind=table.kind,
        title=table.title,
        table=rows.iloc[order].reset_index(drop=True),
        findings=findings,
        labels=labels[order],
        known=known[order],
        images=table.images,
        hashed=table.hashed,
        own_scheme=table.own_scheme,
        own_parts=None if parts is None else lambda: OwnParts(parts),
        has_patients=table.patients is not None,
        notes=(*table.notes, *notes),
        warnings=(*table.warnings, *_contradictions(labels, healthy, findings)),
        policies={"uncertain": policy.uncertain, "blank": policy.blank},
    )


def _healthy(raw: pd.DataFrame, file: Path) -> NDArray[np.bool_]:
    found = np.zeros(len(raw), dtype=bool)
    for name in raw.columns:
        if is_healthy(name) and looks_like_labels(raw[name]):
            found |= read_cells(raw[name], file) == 1
    return found


def _contradictions(
    labels: NDArray[np.uint8], healthy: NDArray[np.bool_], findings: tuple[str, ...]
) -> tuple[str, ...]:
    disease = np.array([name not in NO_DISEASE for name in findings])
    number = int((healthy & (labels[:, disease] == 1).any(axis=1)).sum())
    images = count_of(number, "image has", "images have")
    return (f"{images} both 'No Finding' and a finding; the finding counts.",) * bool(number)


def _describe_people(rows: pd.DataFrame, raw: pd.DataFrame) -> tuple[str, ...]:
    """Fill in age, sex and view where the table knows them."""
    notes: tuple[str, ...] = ()
    if age := choose_column(raw, AGES):
        rows["age"], notes = read_ages(raw[age])
    if sex := choose_column(raw, SEXES):
        rows["sex"] = read_sexes(raw[sex]).to_numpy()
    if view := choose_column(raw, VIEWS):
        views = read_views(raw[view])
        if SIDES in raw:
            sides = raw[SIDES].str.lower()
            views = views.where(sides != "lateral", "L")
            # 17 frontal images of CheXpert have LL or RL beside it
            views = views.where((sides != "frontal") | views.isin(("PA", "AP")), "")
        rows["view"] = views.str[: TEXT_COLUMNS["view"]].to_numpy()
    return notes


def refuse_absent(path: Path | None, what: str, folder: Path) -> Path:
    """Return a file that must be there; raise `UsageError` otherwise."""
    if path is None:
        raise UsageError(f"{folder} has no {what}.", "Download it to the same folder.")
    return path
