"""NIH ChestX-ray14: Box download, Kaggle's full set and sample, Hugging Face, resized copies."""

from collections.abc import Iterator
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
from deepchest_cli.data.text import few


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
        box_frame=BOX_FRAME,
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
    return OwnParts(parts, paths, tuple(_list_notes(lists, names, parts == "")))


def _list_notes(
    lists: dict[str, frozenset[str]], names: "pd.Series[str]", unlisted: NDArray[np.bool_]
) -> Iterator[str]:
    if unlisted.any():
        left = names[unlisted]
        yield f"{len(left):,} images, in neither split list, are left out: {few(left)}."
    rowless = len((lists["train_val"] | lists["test"]) - set(names))
    if rowless:
        yield f"{rowless:,} names of the split lists have no row in the metadata."
