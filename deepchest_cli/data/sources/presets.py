"""The tables of CheXpert, MIMIC-CXR-JPG and PadChest, each brought to one row per image.

CheXpert: Irvin et al., AAAI 2019. MIMIC-CXR-JPG: Johnson et al., arXiv 1901.07042. PadChest:
Bustos et al., Medical Image Analysis 2020. In the first two a blank says "not mentioned", which
their authors take as absent; so do we unless `--blank` says otherwise.
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.label_values import finding_name
from deepchest_cli.data.sources.labels_csv import CsvTable, refuse_absent
from deepchest_cli.data.sources.tables import need_column, read_table, refuse_blank, refuse_repeated
from deepchest_cli.errors import UsageError

STATES = (
    "Enlarged Cardiomediastinum", "Cardiomegaly", "Lung Opacity", "Lung Lesion", "Edema",
    "Consolidation", "Pneumonia", "Atelectasis", "Pneumothorax", "Pleural Effusion",
    "Pleural Other", "Fracture", "Support Devices",
)  # fmt: skip
# terms of PadChest's tree that are kinds of a finding
PADCHEST_KINDS = {
    "laminar atelectasis": "Atelectasis",
    "lobar atelectasis": "Atelectasis",
    "segmental atelectasis": "Atelectasis",
    "total atelectasis": "Atelectasis",
    "round atelectasis": "Atelectasis",
    "atelectasis basal": "Atelectasis",
    "loculated pleural effusion": "Effusion",
    "multiple nodules": "Nodule",
    "pulmonary mass": "Mass",
    "atypical pneumonia": "Pneumonia",
    "apical pleural thickening": "Pleural_Thickening",
}
STUDY = ("subject_id", "study_id")
# terms of PadChest that say nothing about what is there
NO_READING = frozenset({"", "exclude", "suboptimal study", "unchanged"})
QUOTED = re.compile(r"'([^']*)'|\"([^\"]*)\"")
MIMIC_PARTS = {"train": "train", "validate": "validation", "test": "test"}


def chexpert(folder: Path) -> CsvTable:
    """Return CheXpert's rows; valid.csv is the test part unless test.csv is there."""
    names = ("train", "valid", "test")
    files = [path for name in names if (path := folder / f"{name}.csv").is_file()]
    refuse_absent(files[0] if files else None, "table train.csv", folder)
    raw = pd.concat([_chexpert_part(path, files[-1]) for path in files], ignore_index=True)
    return CsvTable(
        "chexpert", "CheXpert", raw.fillna(""), files[0], tuple(files), folder,
        names="@name", paths="Path", patients="@patient", labels=STATES, blank="zero",
        own_scheme="official", parts="@part",
    )  # fmt: skip


def _chexpert_part(path: Path, last: Path) -> pd.DataFrame:
    raw = read_table(path)
    for name in ("Path", *STATES):
        need_column(raw, (name,), path, "Use CheXpert's own tables.")
    patients = raw["Path"].str.extract(r"(patient\d+)/", expand=False)
    wrong = np.flatnonzero(patients.isna().to_numpy())
    if len(wrong):
        raise UsageError(
            f"{path}, row {wrong[0] + 2}: {raw['Path'].iloc[wrong[0]]!r} names no patient.",
            "CheXpert's paths are like train/patient00001/study1/view1_frontal.jpg.",
        )
    part = "train_val"
    if path.stem != "train":
        part = "test" if path == last else "validation"
    names = raw["Path"].str.split("/", n=1).str[-1]  # without the folder of all
    raw["@name"], raw["@patient"], raw["@part"] = names, patients, part
    return raw


def find_mimic(folder: Path, what: str) -> Path | None:
    """Return MIMIC-CXR-JPG's table of labels, metadata or parts, of any version."""
    found = sorted(
        (*folder.glob(f"mimic-cxr-*-{what}.csv"), *folder.glob(f"mimic-cxr-*-{what}.csv.gz"))
    )
    return found[0] if found else None


def mimic_cxr(folder: Path) -> CsvTable:
    """Return the images of MIMIC-CXR-JPG's metadata with the labels of their studies."""
    metadata, labels, parts = (
        _mimic_table(folder, what, columns)
        for what, columns in (
            ("metadata", ("dicom_id", *STUDY)),
            ("chexpert", STUDY),
            ("split", ("dicom_id", "split")),
        )
    )
    raw = metadata.raw.merge(labels.raw, on=list(STUDY), how="left", indicator="@labels")
    labelled = (raw["@labels"] == "both").to_numpy()
    raw = (
        raw[labelled]
        .drop(columns="@labels")
        .merge(parts.raw[["dicom_id", "split"]], on="dicom_id", how="left")
    )
    raw = raw.fillna("").assign(**{"@part": raw["split"].map(MIMIC_PARTS).fillna("")})
    left = {"studies without labels": int((~labelled).sum()),
            f"no part in {parts.path.name}": int((raw["@part"] == "").sum())}  # fmt: skip
    return CsvTable(
        "mimic-cxr", "MIMIC-CXR-JPG", raw, metadata.path,
        tuple(table.path for table in (metadata, labels, parts)), folder,
        names="dicom_id", paths="dicom_id", patients="subject_id",
        labels=tuple(name for name in STATES if name in raw.columns), blank="zero",
        own_scheme="official", parts="@part",
        warnings=tuple(f"{n:,} images of {why} are left out." for why, n in left.items() if n),
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
    key = raw["dicom_id"] if "dicom_id" in columns else raw["subject_id"] + "/" + raw["study_id"]
    refuse_repeated(key, path)
    return _MimicTable(path, raw)


def find_padchest(folder: Path) -> Path | None:
    """Return PadChest's table."""
    found = sorted(folder.glob("PADCHEST*.csv*"))
    return found[0] if found else None


def padchest(folder: Path) -> CsvTable:
    """Return PadChest's rows with a column for each finding of NIH; other terms are not used."""
    file = refuse_absent(find_padchest(folder), "table PADCHEST_....csv", folder)
    raw = read_table(file)
    for name in ("ImageID", "PatientID", "Labels"):
        need_column(raw, (name,), file, "Use PadChest's own table.")
    terms = {text: _terms(text) for text in raw["Labels"].unique()}
    found = raw["Labels"].map(terms)
    columns = {name: found.map(lambda of, name=name: _cell(of, name)) for name in FINDINGS}
    raw = raw.assign(**columns)
    if {"StudyDate_DICOM", "PatientBirth"} <= set(raw.columns):
        years = pd.to_numeric(raw["StudyDate_DICOM"].str[:4], errors="coerce")
        years -= pd.to_numeric(raw["PatientBirth"].str[:4], errors="coerce")
        raw["Age"] = years.map(lambda age: "" if pd.isna(age) else f"{age:.0f}")
    if "PatientSex_DICOM" in raw:
        raw["Sex"] = raw["PatientSex_DICOM"]
    return CsvTable(
        "padchest", "PadChest", raw, file, (file,), folder,
        names="ImageID", paths="ImageID", patients="PatientID", labels=FINDINGS,
    )  # fmt: skip


def _terms(text: str) -> frozenset[str] | None:
    """Return the findings in a cell such as `['cardiomegaly', ' nodule']`; None: no labels."""
    terms = {(one or other).strip().lower() for one, other in QUOTED.findall(text)}
    if not terms - NO_READING:
        return None
    return frozenset(PADCHEST_KINDS.get(term, finding_name(term)) for term in terms)


def _cell(found: frozenset[str] | None, finding: str) -> str:
    return "" if found is None else str(int(finding in found))
