"""Any CSV table with a column of paths and columns of labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import is_healthy
from deepchest_cli.data.shards import LONGEST_FINDING, LONGEST_NAME, TEXT_COLUMNS
from deepchest_cli.data.sources.base import OwnSplits, Source, blank_table
from deepchest_cli.data.splits import divided_groups
from deepchest_cli.data.tabular.cells import each_text, is_blank, patient_numbers
from deepchest_cli.data.tabular.columns import (
    ROLES,
    choose_column,
    has_other_meaning,
    need_column,
    read_people,
    refuse_blank,
    refuse_names,
    refuse_repeated,
)
from deepchest_cli.data.tabular.finding_columns import without_affix
from deepchest_cli.data.tabular.label_map import load_label_map, read_label_columns
from deepchest_cli.data.tabular.labels import Doubt, looks_like_labels, read_policy
from deepchest_cli.data.tabular.tables import blank_rows, row_number
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

Terms = tuple[tuple[str, ...], NDArray[np.int8]]  # of each image: names (L,), states (N, L)


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
    labels: tuple[str, ...] = ()  # columns
    terms: Terms | None = None  # instead of columns of labels
    studies: str | None = None
    blank: Doubt = "ignore"
    own_scheme: str = "random"
    splits: str | None = None  # column of the source's own splits
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


def generic_table(raw: pd.DataFrame, file: Path, config: PrepareConfig, images: Path) -> CsvTable:
    """Return a table whose columns are named by flags, or else known by their usual names."""
    hint = "--path-column, --patient-column, --study-column and --label-columns name the columns."
    names = (config.path_column,) if config.path_column else ROLES["path"]
    paths = need_column(raw, names, file, hint)
    patients = choose_column(raw, ROLES["patient"])
    if config.patient_column:
        patients = need_column(raw, (config.patient_column,), file, hint)
    studies = choose_column(raw, ROLES["study"])
    if config.study_column:
        studies = need_column(raw, (config.study_column,), file, hint)
    elif studies and raw[studies].nunique() == 1:  # it names a project, not an examination
        studies = None
    notes = blank_rows(raw, file)
    if config.label_columns:
        wanted = [name.strip() for name in config.label_columns.split(",") if name.strip()]
        hint = "--label-columns takes names of columns, separated by commas."
        labels = tuple(need_column(raw, (name,), file, hint) for name in wanted)
    else:
        taken = {paths, *filter(None, (patients, studies))}
        raw, said = without_affix(raw, taken, file)
        notes += said
        labels = tuple(
            name
            for name in raw.columns
            if not (name in taken or has_other_meaning(name)) and looks_like_labels(raw[name])
        )
    return CsvTable(
        "csv", f"the table {file.name}", raw, file, (file,), images,
        names=paths, paths=paths, patients=patients, labels=labels,
        studies=studies, notes=notes,
    )  # fmt: skip


def unused_columns(table: CsvTable) -> tuple[str, ...]:
    """Return the columns of a table that nothing is made of."""
    used = {table.paths, table.patients, table.studies, *table.labels}
    return tuple(
        name
        for name in table.raw.columns
        if not (name in used or has_other_meaning(name) or is_healthy(name))
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
    policy = read_policy(config.uncertain, config.blank or table.blank)
    label_map = load_label_map(table.kind, config.label_map, config.findings)
    if table.terms is None:
        read = read_label_columns(raw, table.labels, file, policy, label_map)
    else:
        read = label_map.apply(*table.terms, policy, file, lists_terms=True)
    refuse_long_findings(read.findings, file)
    people = read_people(raw)
    rows = blank_table(names)
    rows["path"] = raw[table.paths].to_numpy()
    rows["study"], several = _studies(table, names)
    # of one patient, whoever that is
    of_one = raw[table.patients] if table.patients else rows["study"]
    rows["patient_id"] = patient_numbers(of_one)
    rows["age"], rows["sex"] = people.age, people.sex
    rows["view"] = pd.Series(people.view).str[: TEXT_COLUMNS["view"]].to_numpy()
    order = np.argsort(names.to_numpy(dtype=str), kind="stable")
    splits = None if table.splits is None else raw[table.splits].to_numpy(dtype="<U10")[order]
    images = count_of(read.contradictory, "image has", "images have")
    both = (f"{images} both 'No Finding' and a finding; the finding counts.",)
    return Source(
        kind=table.kind,
        title=table.title,
        table=rows.iloc[order].reset_index(drop=True),
        findings=read.findings,
        labels=read.labels[order],
        known=read.known[order],
        images=table.images,
        hashed=table.hashed,
        own_scheme=table.own_scheme,
        own_splits=None if splits is None else lambda: OwnSplits(splits),
        has_patients=table.patients is not None,
        has_studies=table.studies is not None,
        notes=(*table.notes, *people.notes, *read.notes),
        warnings=(*table.warnings, *several, *both * bool(read.contradictory)),
        policies=policy.describe(read.findings) | label_map.describe(),
    )


def _studies(table: CsvTable, names: "pd.Series[str]") -> tuple["pd.Series[str]", tuple[str, ...]]:
    """Return each image's study (N,), its own name where the table has none, and what was noticed.

    A study is of one patient: where several share its name, that is `PATIENT/STUDY`.
    """
    if table.studies is None:
        return names, ()
    given = table.raw[table.studies]
    studies = given.mask(each_text(given, is_blank).astype(bool), names)
    warnings: tuple[str, ...] = ()
    if table.patients is not None:
        patients = table.raw[table.patients]
        apart = divided_groups(studies.to_numpy(dtype=str), patient_numbers(patients))
        if apart:
            warnings = (_shared_name(table, studies, apart),)
            shared = studies.isin({studies.iloc[one] for one, _ in apart})
            studies = studies.mask(shared, patients + "/" + studies)
    refuse_names(studies, LONGEST_NAME, table.file, "study")
    return studies, warnings


def _shared_name(table: CsvTable, studies: "pd.Series[str]", apart: list[tuple[int, int]]) -> str:
    """Return what to say of names of studies that several patients share; apart: two rows each."""
    one, other = apart[0]
    rows = f"rows {row_number(studies, one)} and {row_number(studies, other)}"
    counted = count_of(len(apart), "name of studies is", "names of studies are")
    return (
        f"{table.file}: {counted} of several patients (the first, {studies.iloc[one]!r}, {rows}): "
        "each patient's images are a study of their own, PATIENT/STUDY. If a study is one "
        f"patient's there, a cell of {table.studies!r} or {table.patients!r} is wrong."
    )


def refuse_long_findings(findings: tuple[str, ...], path: Path) -> None:
    """Raise `UsageError` for a name of a finding that a shard cannot keep."""
    for name in findings:
        if len(name) > LONGEST_FINDING or not name.isascii():
            raise UsageError(
                f"{path}: column {name!r} is not plain ASCII of at most {LONGEST_FINDING} "
                "characters.",
                "Rename it, or name the columns of labels: --label-columns A,B,C",
            )


def refuse_absent(path: Path | None, what: str, folder: Path) -> Path:
    """Return a file that must be there; raise `UsageError` otherwise."""
    if path is None:
        raise UsageError(f"{folder} has no {what}.", "Download it to the same folder.")
    return path
