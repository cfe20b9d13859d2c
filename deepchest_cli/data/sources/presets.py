"""The tables of CheXpert, MIMIC-CXR-JPG and PadChest, each brought to one row per image.

CheXpert: Irvin et al., AAAI 2019. MIMIC-CXR-JPG: Johnson et al., arXiv 1901.07042. PadChest:
Bustos et al., Medical Image Analysis 2020. In the first two a blank says "not mentioned", which
their authors take as absent; so do we unless `--blank` says otherwise.
"""

import ast
from pathlib import Path

import pandas as pd

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.label_values import finding_name
from deepchest_cli.data.sources.labels_csv import CsvTable, refuse_absent
from deepchest_cli.data.sources.tables import need_column, read_table
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
MIMIC_PARTS = {"train": "train", "validate": "validation", "test": "test"}


def chexpert(folder: Path) -> CsvTable:
    """Return CheXpert's rows; valid.csv is the test part unless test.csv is there."""
    files = [
        path for name in ("train", "valid", "test") if (path := folder / f"{name}.csv").is_file()
    ]
    refuse_absent(files[0] if files else None, "table train.csv", folder)
    tested = files[-1].stem
    frames = []
    for path in files:
        raw = read_table(path)
        missing = [name for name in ("Path", *STATES) if name not in raw.columns]
        if missing:
            raise UsageError(
                f"{path} has no column {missing[0]!r}. Found: {', '.join(raw.columns)}."
            )
        part = "test" if path.stem == tested != "train" else "validation"
        frames.append(raw.assign(**{"@part": "train_val" if path.stem == "train" else part}))
    raw = pd.concat(frames, ignore_index=True).fillna("")
    raw["@name"] = raw["Path"].str.split("/", n=1).str[-1]  # without the folder of all
    raw["@patient"] = raw["Path"].str.extract(r"(patient\d+)/", expand=False).fillna("")
    if "AP/PA" in raw and "Frontal/Lateral" in raw:
        raw["AP/PA"] = raw["AP/PA"].where(raw["Frontal/Lateral"] != "Lateral", "L")
    return CsvTable(
        "chexpert", "CheXpert", raw, files[0], tuple(files), folder,
        names="@name", paths="@name", patients="@patient", labels=STATES, blank="zero",
        own_scheme="official", parts="@part",
    )  # fmt: skip


def find_mimic(folder: Path, what: str) -> Path | None:
    """Return MIMIC-CXR-JPG's table of labels, metadata or parts, of any version."""
    found = sorted(
        (*folder.glob(f"mimic-cxr-*-{what}.csv"), *folder.glob(f"mimic-cxr-*-{what}.csv.gz"))
    )
    return found[0] if found else None


def mimic_cxr(folder: Path) -> CsvTable:
    """Return the images of MIMIC-CXR-JPG's metadata with the labels of their studies."""
    paths = [
        refuse_absent(find_mimic(folder, what), f"table mimic-cxr-...-{what}.csv.gz", folder)
        for what in ("metadata", "chexpert", "split")
    ]
    metadata, labels, parts = (read_table(path) for path in paths)
    for raw, path in zip((metadata, labels, parts), paths, strict=True):
        for name in ("subject_id", "study_id"):
            need_column(raw, (name,), path, "Use MIMIC-CXR-JPG's own tables.")
    keys = ["subject_id", "study_id"]
    raw = metadata.merge(labels, on=keys, how="inner", validate="many_to_one")
    raw = raw.merge(parts[["dicom_id", "split"]], on="dicom_id", how="left").fillna("")
    raw["@part"] = raw["split"].map(MIMIC_PARTS).fillna("")
    return CsvTable(
        "mimic-cxr", "MIMIC-CXR-JPG", raw, paths[0], tuple(paths), folder,
        names="dicom_id", paths="dicom_id", patients="subject_id",
        labels=tuple(name for name in STATES if name in raw.columns), blank="zero",
        own_scheme="official", parts="@part",
    )  # fmt: skip


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
    try:
        terms = ast.literal_eval(text.strip())
    except (ValueError, SyntaxError):
        return None
    if not isinstance(terms, list):
        return None
    plain = [str(term).strip().lower() for term in terms]
    return frozenset(PADCHEST_KINDS.get(term, finding_name(term)) for term in plain if term)


def _cell(found: frozenset[str] | None, finding: str) -> str:
    return "" if found is None else str(int(finding in found))
