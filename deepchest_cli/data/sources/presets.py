"""The tables of CheXpert, MIMIC-CXR-JPG and PadChest, each brought to one row per image.

CheXpert: Irvin et al., AAAI 2019. MIMIC-CXR-JPG: Johnson et al., arXiv 1901.07042. A blank says
"not mentioned", which their authors take as absent; so do we unless `--blank` says otherwise.
PadChest: Bustos et al., Medical Image Analysis 2020. It lists terms for each image; a term counts
as each finding that it is a kind of, by the tree of the paper's appendix and of the authors'
repository (auriml/Rx-thorax-automatic-captioning, manual_review/trees_code.txt).
"""

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.findings import FINDINGS, NO_FINDING
from deepchest_cli.data.sources.labels_csv import CsvTable, refuse_absent
from deepchest_cli.data.tabular.columns import need_column, refuse_blank, refuse_repeated
from deepchest_cli.data.tabular.labels import read_cells
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
# The terms of each finding of NIH: the finding's own, and all that stand below it in the tree.
# Not `mass` as a whole: masses of the mediastinum, the pleura, the breast and soft tissue are none
# of the lung. `pseudonodule` has a branch of its own, as have `subcutaneous emphysema` and
# `pericardial effusion`.
PADCHEST_TERMS: dict[str, tuple[str, ...]] = {
    "Atelectasis": (
        "atelectasis", "total atelectasis", "lobar atelectasis", "segmental atelectasis",
        "laminar atelectasis", "round atelectasis", "atelectasis basal",
    ),
    "Cardiomegaly": ("cardiomegaly",),
    "Effusion": (
        "pleural effusion", "loculated pleural effusion", "loculated fissural effusion",
        "hydropneumothorax", "empyema", "hemothorax",
    ),
    "Infiltration": (
        "infiltrates", "interstitial pattern", "ground glass pattern",
        "reticular interstitial pattern", "reticulonodular interstitial pattern",
        "miliary opacities", "alveolar pattern", "consolidation", "air bronchogram",
    ),
    "Mass": ("mass", "pulmonary mass"),
    "Nodule": ("nodule", "multiple nodules"),
    "Pneumonia": ("pneumonia", "atypical pneumonia"),
    "Pneumothorax": ("pneumothorax", "hydropneumothorax"),
    "Consolidation": ("consolidation", "air bronchogram"),
    "Edema": ("pulmonary edema",),
    "Emphysema": ("emphysema",),
    "Fibrosis": ("pulmonary fibrosis", "post radiotherapy changes", "asbestosis signs"),
    "Pleural_Thickening": (
        "pleural thickening", "apical pleural thickening", "calcified pleural thickening",
    ),
    "Hernia": ("hiatal hernia",),
}  # fmt: skip
HEALTHY = "normal"  # all findings are absent that are not named
# terms beside which what is not named is unknown: the report refers to an earlier one, the study
# was set aside, or it shows too little
INCOMPLETE = frozenset({"unchanged", "exclude", "suboptimal study"})
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
    """Return PadChest's rows with a column for each finding of NIH; other terms are not used."""
    file = refuse_absent(find_padchest(folder), "table PADCHEST_....csv", folder)
    raw = read_table(file)
    notes = blank_rows(raw, file)
    for name in ("ImageID", "PatientID", "Labels"):
        need_column(raw, (name,), file, "Use PadChest's own table.")
    cells = {text: cells_of_terms(text) for text in raw["Labels"].unique()}
    found = pd.DataFrame([cells[text] for text in raw["Labels"]], index=raw.index)
    raw = pd.concat([raw.drop(columns=[c for c in found if c in raw]), found], axis=1)
    if {"StudyDate_DICOM", "PatientBirth"} <= set(raw.columns):
        years = pd.to_numeric(raw["StudyDate_DICOM"].str[:4], errors="coerce")
        years -= pd.to_numeric(raw["PatientBirth"].str[:4], errors="coerce")
        raw["Age"] = years.map(lambda age: "" if pd.isna(age) else f"{age:.0f}")
    if "PatientSex_DICOM" in raw:
        raw["Sex"] = raw["PatientSex_DICOM"]
    return CsvTable(
        "padchest", "PadChest", raw, file, (file,), folder,
        names="ImageID", paths="ImageID", patients="PatientID", labels=FINDINGS,
        studies="StudyID" if "StudyID" in raw else None, notes=notes,
    )  # fmt: skip


def cells_of_terms(text: str) -> dict[str, str]:
    """Return a cell (1, 0 or blank) for each finding and for `No Finding`.

    text: a list such as `['cardiomegaly', ' nodule']`, with or without commas between its terms.
    """
    terms = {(one or other).strip().lower() for one, other in QUOTED.findall(text)} - {""}
    absent = "0" if terms and not terms & INCOMPLETE else ""
    cells = {
        finding: "1" if terms.intersection(names) else absent
        for finding, names in PADCHEST_TERMS.items()
    }
    return {**cells, NO_FINDING: str(int(HEALTHY in terms))}
