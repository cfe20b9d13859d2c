"""PadChest (Bustos et al., Medical Image Analysis 2020): terms of a tree, in a list for each image.

A term counts as each finding that it is a kind of: the tree is that of the paper's appendix and of
the authors' repository (auriml/Rx-thorax-automatic-captioning, manual_review/trees_code.txt).
"""

import re
from pathlib import Path

import pandas as pd

from deepchest_cli.data.findings import FINDINGS, NO_FINDING
from deepchest_cli.data.sources.labels_csv import CsvTable, refuse_absent
from deepchest_cli.data.tabular.columns import need_column
from deepchest_cli.data.tabular.tables import blank_rows, read_table

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


def find_padchest(folder: Path) -> Path | None:
    """Return PadChest's table."""
    found = sorted(folder.glob("PADCHEST*.csv*"))
    return found[0] if found else None


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
