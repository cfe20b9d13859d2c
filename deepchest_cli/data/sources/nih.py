"""NIH ChestX-ray14: Box download, Kaggle's full set and sample, Hugging Face, resized copies."""

from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.demo import is_demo
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.base import OwnParts, Source
from deepchest_cli.data.sources.nih_folder import (
    find_beside,
    find_metadata,
    read_boxes,
    read_split_lists,
)
from deepchest_cli.data.sources.nih_layout import BOX_FILE, BOX_FRAME
from deepchest_cli.data.sources.nih_metadata import WHOLE_TABLE, read_metadata
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError


def read_nih(folder: Path) -> Source:
    """Read the table, the boxes and, when asked for, the split lists of an NIH folder."""
    path = find_metadata(folder)
    metadata = read_metadata(path)
    labels = metadata.table[list(FINDINGS)].to_numpy(dtype=np.uint8)
    table = metadata.table.drop(columns=list(FINDINGS))
    table["path"] = table["image_index"]
    boxes = find_beside(folder, BOX_FILE)
    notes = list(metadata.warnings)
    synthetic = is_demo(folder)
    if not synthetic and len(table) != WHOLE_TABLE:
        notes.append(f"{path.name} has {len(table):,} of NIH's {WHOLE_TABLE:,} rows.")
    return Source(
        kind="nih",
        title="synthetic radiographs" if synthetic else "NIH ChestX-ray14",
        table=table,
        findings=FINDINGS,
        labels=labels,
        known=np.ones_like(labels),
        images=folder,
        hashed=(path,) if boxes is None else (path, boxes),
        label_version=metadata.label_version,
        boxes=read_boxes(boxes),
        box_file=boxes,
        box_frame=BOX_FRAME,
        warnings=_stray_boxes(read_boxes(boxes), table["image_index"], labels),
        own_scheme="official",
        own_parts=partial(_official_parts, folder, table["image_index"]),
        synthetic=synthetic,
        notes=tuple(notes),
    )


def _official_parts(folder: Path, names: "pd.Series[str]") -> OwnParts:
    lists, paths = read_split_lists(folder)
    parts = np.full(len(names), "", dtype="<U10")
    for part, listed in lists.items():
        parts[names.isin(listed).to_numpy()] = part
    for part, path in zip(lists, paths, strict=True):
        if not (parts == part).any():
            raise UsageError(
                f"{path} names none of the {len(names):,} images of the table.",
                "Restore NIH's list, or split by patient at random: --split-scheme random",
            )
    unlisted, where = names[parts == ""], ", in neither split list,"
    warnings = (
        (
            f"{count_of(len(unlisted), f'image{where} is', f'images{where} are')} left out: "
            f"{few(unlisted)}.",
        )
        if len(unlisted)
        else ()
    )
    rowless = len((lists["train_val"] | lists["test"]) - set(names))
    number = count_of(rowless, "name of the split lists has", "names of the split lists have")
    note = f"{number} no row in the metadata."
    return OwnParts(parts, paths, (note,) * bool(rowless), warnings)


def _stray_boxes(
    boxes: pd.DataFrame, names: "pd.Series[str]", labels: NDArray[np.uint8]
) -> tuple[str, ...]:
    """Warn of boxes of findings that their images lack; in NIH's own files there are none."""
    row_of = dict(zip(names, range(len(names)), strict=True))
    pairs = zip(boxes["image_index"], boxes["finding"], strict=True)
    stray = [
        image
        for image, finding in pairs
        if image in row_of and not labels[row_of[image], FINDINGS.index(finding)]
    ]
    number = count_of(len(stray), "box is of a finding", "boxes are of findings")
    return (f"{number} without a label in the table: {few(stray)}.",) * bool(stray)
