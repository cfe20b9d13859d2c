"""The tables of CheXpert, MIMIC-CXR-JPG and PadChest, each brought to one row per image.

CheXpert: Irvin et al., AAAI 2019. MIMIC-CXR-JPG: Johnson et al., arXiv 1901.07042. A blank says
"not mentioned", which their authors take as absent; so do we unless `--blank` says otherwise.
PadChest: Bustos et al., Medical Image Analysis 2020. It lists terms for each image.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.sources.labels_csv import CsvTable, refuse_absent
from deepchest_cli.data.tabular.columns import need_column, refuse_blank, refuse_repeated
from deepchest_cli.data.tabular.labels import read_cells, read_terms
from deepchest_cli.data.tabular.tables import blank_rows, read_table, row_number
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

STATES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
STUDY = ("subject_id", "study_id")
MIMIC_SPLITS = {"train": "train", "validate": "validation", "test": "test"}
PADCHEST_COLUMNS = ("ImageID", "PatientID", "StudyID", "Labels", "Projection", "StudyDate_DICOM",
                    "PatientBirth", "PatientSex_DICOM")  # fmt: skip
QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")


def chexpert(folder: Path) -> CsvTable:
    """Return CheXpert's rows; valid.csv is the test split unless test.csv is there."""
    names = ("train", "valid", "test")
    files = [path for name in names if (path := folder / f"{name}.csv").is_file()]
    refuse_absent(files[0] if files else None, "table train.csv", folder)
    read = {path: _chexpert_table(path, files[-1]) for path in files}
    raw = pd.concat(read.values(), ignore_index=True)
    return CsvTable(
        "chexpert", "CheXpert", raw.fillna(""), files[0], tuple(files), folder,
        names="@name", paths="Path", patients="@patient", studies="@study", labels=STATES,
        blank="zero",
        own_scheme="official", splits="@split",
        notes=tuple(note for path, table in read.items() for note in blank_rows(table, path)),
    )  # fmt: skip


def _chexpert_table(path: Path, last: Path) -> pd.DataFrame:
    raw = read_table(path)
    for name in ("Path", *STATES):
        need_column(raw, (name,), path, "Use CheXpert's own tables.")
    patients = raw["Path"].str.extract(r"(patient\d+)/", expand=False)
    wrong = np.flatnonzero(patients.isna().to_numpy())
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(raw, wrong[0])}: {raw['Path'].iloc[wrong[0]]!r} names no "
            "patient.",
            "CheXpert's paths are like train/patient00001/study1/view1_frontal.jpg.",
        )
    split = "train_val"
    if path.stem != "train":
        split = "test" if path == last else "validation"
    names = raw["Path"].str.split("/", n=1).str[-1]  # without the folder of all
    for name in STATES:
        read_cells(raw[name], path)  # an error names the row of this file
    raw["@name"], raw["@patient"], raw["@split"] = names, patients, split
    studies = raw["Path"].str.extract(r"(patient\d+/study\d+)/", expand=False)
    raw["@study"] = studies.fillna("")
    return raw


def find_mimic(folder: Path, what: str) -> Path | None:
    """Return MIMIC-CXR-JPG's table of labels, metadata or splits, of any version."""
    tables = f"mimic-cxr-*-{what}.csv"
    return min((*folder.glob(tables), *folder.glob(f"{tables}.gz")), default=None)


def mimic_cxr(folder: Path) -> CsvTable:
    """Return the images of MIMIC-CXR-JPG's metadata with the labels of their studies."""
    metadata = _mimic_table(folder, "metadata", ("dicom_id", *STUDY))
    labels = _mimic_table(folder, "chexpert", STUDY)
    splits = _mimic_table(folder, "split", ("dicom_id", "split"))
    raw = metadata.raw.merge(labels.raw, on=list(STUDY), how="left", indicator="@labels")
    labeled = (raw["@labels"] == "both").to_numpy()
    raw = raw[labeled].drop(columns="@labels")
    raw = raw.merge(splits.raw[["dicom_id", "split"]], on="dicom_id", how="left")
    raw = raw.fillna("").assign(**{"@split": raw["split"].map(MIMIC_SPLITS).fillna("")})
    left = {"studies without labels": int((~labeled).sum()),
            f"no split in {splits.path.name}": int((raw["@split"] == "").sum())}  # fmt: skip
    return CsvTable(
        "mimic-cxr", "MIMIC-CXR-JPG", raw, metadata.path,
        tuple(table.path for table in (metadata, labels, splits)), folder,
        names="dicom_id", paths="dicom_id", patients="subject_id", studies="study_id",
        labels=tuple(name for name in STATES if name in raw.columns), blank="zero",
        own_scheme="official", splits="@split",
        notes=tuple(
            note for read in (metadata, labels, splits) for note in blank_rows(read.raw, read.path)
        ),
        warnings=tuple(
            f"{count_of(n, f'image of {why} is', f'images of {why} are')} left out."
            for why, n in left.items()
            if n
        ),
    )  # fmt: skip


@dataclass(frozen=True)
class _MimicTable:
    path: Path
    raw: pd.DataFrame


def _mimic_table(folder: Path, what: str, columns: tuple[str, ...]) -> _MimicTable:
    """Return one of the tables, a row for each of the values of its first column, or its study."""
    path = refuse_absent(find_mimic(folder, what), f"table mimic-cxr-...-{what}.csv.gz", folder)
    raw = read_table(path)
    for name in columns:
        need_column(raw, (name,), path, "Use MIMIC-CXR-JPG's own tables.")
        refuse_blank(raw[name], path)
        if name in STUDY:  # numbers, whatever their zeros
            raw[name] = raw[name].str.lstrip("0")
    for name in set(STATES) & set(raw.columns):
        read_cells(raw[name], path)
    key = raw["dicom_id"] if "dicom_id" in columns else raw["subject_id"] + "/" + raw["study_id"]
    refuse_repeated(key, path)
    return _MimicTable(path, raw)


def find_padchest(folder: Path) -> Path | None:
    """Return PadChest's table."""
    return min(folder.glob("PADCHEST*.csv*"), default=None)


def padchest(folder: Path) -> CsvTable:
    """Return PadChest's rows and their terms."""
    file = refuse_absent(find_padchest(folder), "table PADCHEST_....csv", folder)
    raw = read_table(file, only=PADCHEST_COLUMNS)
    notes = blank_rows(raw, file)
    for name in ("ImageID", "PatientID", "Labels"):
        need_column(raw, (name,), file, "Use PadChest's own table.")
    terms = read_terms(raw["Labels"], terms_of)
    if {"StudyDate_DICOM", "PatientBirth"} <= set(raw.columns):
        years = pd.to_numeric(raw["StudyDate_DICOM"].str[:4], errors="coerce")
        years -= pd.to_numeric(raw["PatientBirth"].str[:4], errors="coerce")
        raw["Age"] = years.map(lambda age: "" if pd.isna(age) else f"{age:.0f}")
    raw = raw.rename(columns={"PatientSex_DICOM": "Sex"})
    return CsvTable(
        "padchest", "PadChest", raw, file, (file,), folder,
        names="ImageID", paths="ImageID", patients="PatientID", terms=terms,
        studies="StudyID" if "StudyID" in raw else None, notes=notes,
    )  # fmt: skip


def terms_of(text: str) -> frozenset[str]:
    """Return the terms of a list such as `['cardiomegaly', ' nodule']`, with commas or without."""
    found = ((one or other).strip().lower() for one, other in QUOTED.findall(text))
    return frozenset(found) - {""}
