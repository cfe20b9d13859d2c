"""RSNA Pneumonia Detection Challenge, 2018 (Shih et al., Radiology: Artificial Intelligence 2019).

Radiographs of NIH ChestX-ray14, read again by radiologists: a row for each box around a lung
opacity that is suspicious for pneumonia, and one without a box for every other image.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.shards import LONGEST_NAME
from deepchest_cli.data.sources.base import (
    BOX_COLUMNS,
    NIH_IMAGES,
    Source,
    boxes_inside,
    image_table,
)
from deepchest_cli.data.sources.labels_csv import refuse_absent
from deepchest_cli.data.tabular.cells import PRESENT, each_text, is_blank
from deepchest_cli.data.tabular.columns import need_column, refuse_blank, refuse_names
from deepchest_cli.data.tabular.labels import read_cells
from deepchest_cli.data.tabular.tables import blank_rows, find_table, read_table, row_number
from deepchest_cli.errors import UsageError

LABELS, CLASSES = "stage_2_train_labels.csv", "stage_2_detailed_class_info.csv"
FINDING = "Pneumonia"
FRAME = 1024.0  # pixels of the square DICOM images, on which boxes are given
BOX = ("x", "y", "width", "height")
OPACITY, ABNORMAL, NORMAL = "Lung Opacity", "No Lung Opacity / Not Normal", "Normal"
OWN = "Use the challenge's own tables."


def find_rsna(folder: Path) -> Path | None:
    """Return the table of labels and boxes."""
    return find_table(folder, LABELS)


def rsna(folder: Path) -> Source:
    """Return the images of the table of labels with their boxes; Pneumonia is the one finding.

    Raises `UsageError` naming the row of a Target that is not 0 or 1, a box that is missing, not
    wanted or outside the image, and of two rows that contradict each other.
    """
    file = refuse_absent(find_rsna(folder), f"table {LABELS}", folder)
    raw = read_table(file)
    for name in ("patientId", *BOX, "Target"):
        need_column(raw, (name,), file, OWN)
    refuse_blank(raw["patientId"], file)
    refuse_names(raw["patientId"], LONGEST_NAME, file)
    present = _targets(raw, file)
    boxes = _boxes(raw, present, file)
    names, rows = np.unique(raw["patientId"].to_numpy(dtype=str), return_inverse=True)
    labels = np.zeros((len(names), 1), dtype=np.uint8)
    labels[rows, 0] = present
    _refuse_contradiction(raw, present != labels[rows, 0].astype(bool), file)
    classes = find_table(folder, CLASSES)
    notes = [] if classes is None else [_compare(classes, names, labels[:, 0])]
    return Source(
        "rsna", "RSNA Pneumonia", image_table(names), (FINDING,), labels, np.ones_like(labels),
        images=folder, hashed=(file,) if classes is None else (file, classes),
        boxes=boxes, box_file=file, box_frame=FRAME, has_patients=False,
        notes=(*blank_rows(raw, file), *notes, NIH_IMAGES),
    )  # fmt: skip


def _targets(raw: pd.DataFrame, file: Path) -> NDArray[np.bool_]:
    """Return whether each row says that the finding is present (N,)."""
    states = read_cells(raw["Target"], file)
    wrong = np.flatnonzero(states < 0)
    if len(wrong):
        found = raw["Target"].iloc[wrong[0]]
        raise UsageError(
            f"{file}, row {row_number(raw, wrong[0])}: Target should be 0 or 1. Found {found!r}.",
            OWN,
        )
    return np.asarray(states == PRESENT)


def _boxes(raw: pd.DataFrame, present: NDArray[np.bool_], file: Path) -> pd.DataFrame:
    """Return the box of each row with a Target of 1; other rows have none."""
    given = raw[list(BOX)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    boxed = ~np.all([each_text(raw[name], is_blank) for name in BOX], axis=0)
    wrong = np.flatnonzero(np.where(present, ~boxes_inside(given, FRAME), boxed))
    if len(wrong):
        cells = raw[list(BOX)].iloc[wrong[0]].tolist()
        rule = (
            f"a Target of 1 needs a box: x, y, width and height above 0 within {FRAME:.0f} pixels"
            if present[wrong[0]]
            else "a Target of 0 has no box"
        )
        raise UsageError(f"{file}, row {row_number(raw, wrong[0])}: {rule}. Found {cells}.", OWN)
    boxes = pd.DataFrame(given[present], columns=list(BOX), index=raw.index[present] + 2)
    boxes["image_index"], boxes["finding"] = raw["patientId"][present].to_numpy(), FINDING
    return boxes[list(BOX_COLUMNS)].sort_values(list(BOX_COLUMNS))


def _refuse_contradiction(raw: pd.DataFrame, wrong: NDArray[np.bool_], file: Path) -> None:
    """Raise for an image that has rows with a Target of 0 and of 1; wrong: those with 0."""
    if wrong.any():
        name = raw["patientId"][wrong].iloc[0]
        same = raw["patientId"] == name
        other = row_number(raw, np.flatnonzero(same.to_numpy() & ~wrong)[0])
        raise UsageError(
            f"{file}: image {name!r} has a Target of 0 in row "
            f"{row_number(raw, np.flatnonzero(wrong)[0])} and of 1 in row {other}.",
            OWN,
        )


def _compare(file: Path, names: NDArray[np.str_], labels: NDArray[np.uint8]) -> str:
    """Return how many images without the finding are normal, by the table of detailed classes.

    Raises `UsageError` for an unknown class, and for one that contradicts the image's label. An
    image that is not normal has some other finding: which one, and whether others are absent, the
    table does not say, so that no other label follows from it.
    """
    raw = read_table(file)
    for name in ("patientId", "class"):
        need_column(raw, (name,), file, OWN)
    places = pd.Index(names).get_indexer(pd.Index(raw["patientId"]))
    known = raw["class"].isin((OPACITY, ABNORMAL, NORMAL)).to_numpy()
    opaque = (raw["class"] == OPACITY).to_numpy()
    wrong = np.flatnonzero(~known | ((places >= 0) & (opaque != labels[places].astype(bool))))
    if len(wrong):
        given = raw["class"].iloc[wrong[0]]
        why = "contradicts the Target of its image" if known[wrong[0]] else "is no class"
        raise UsageError(f"{file}, row {row_number(raw, wrong[0])}: {given!r} {why}.", OWN)
    by_image = raw["class"][places >= 0].groupby(places[places >= 0])
    several = np.flatnonzero(by_image.nunique().to_numpy() > 1)
    if len(several):
        raise UsageError(f"{file}: image {str(names[several[0]])!r} has several classes.", OWN)
    counted = by_image.first().value_counts()
    return (
        f"Of {int((labels == 0).sum()):,} images without {FINDING}, {counted.get(NORMAL, 0):,} are "
        f"{NORMAL!r} and {counted.get(ABNORMAL, 0):,} are {ABNORMAL!r}."
    )
