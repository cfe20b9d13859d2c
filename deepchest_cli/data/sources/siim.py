"""SIIM-ACR Pneumothorax Segmentation Challenge of 2019: outlines in run lengths.

Radiographs of NIH ChestX-ray14 (Filice et al., Journal of Digital Imaging 2020). A row for each
outline of a pneumothorax; `-1` says that the image has none.
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.shards import LONGEST_NAME
from deepchest_cli.data.sources.base import BOX_COLUMNS, NIH_IMAGES, Source, image_table
from deepchest_cli.data.sources.labels_csv import refuse_absent
from deepchest_cli.data.tabular.columns import need_column, refuse_blank, refuse_names
from deepchest_cli.data.tabular.tables import (
    blank_rows,
    find_table,
    header_of,
    read_table,
    row_number,
)
from deepchest_cli.errors import UsageError

TABLES = ("stage_2_train.csv", "train-rle.csv", "*train-rle.csv")  # the newest first
MARK = "EncodedPixels"  # a column; other challenges have a stage_2_train.csv too
FINDING = "Pneumothorax"
NOTHING = "-1"
SIDE = 1024  # pixels of the square DICOM images
DIGITS = 9  # no number of pixels has as many
OWN = "Use the challenge's own table."


def find_siim(folder: Path) -> Path | None:
    """Return the table of run lengths, of the second stage where both are there."""
    found = (path for name in TABLES if (path := find_table(folder, name)) is not None)
    return next((path for path in found if MARK in header_of(path)), None)


def siim(folder: Path) -> Source:
    """Return the images of the table, each outline's box, and Pneumothorax as the one finding.

    Raises `UsageError` naming the row of run lengths that are damaged or leave the image, and of
    an image that is said to have an outline and none.
    """
    file = refuse_absent(find_siim(folder), f"table {TABLES[0]} or {TABLES[1]}", folder)
    raw = read_table(file)
    for name in ("ImageId", MARK):
        need_column(raw, (name,), file, OWN)
        refuse_blank(raw[name], file)
    refuse_names(raw["ImageId"], LONGEST_NAME, file)
    outlined = (raw[MARK] != NOTHING).to_numpy()
    names, rows = np.unique(raw["ImageId"].to_numpy(dtype=str), return_inverse=True)
    labels = np.zeros((len(names), 1), dtype=np.uint8)
    labels[rows[outlined], 0] = 1
    wrong = np.flatnonzero(~outlined & (labels[rows, 0] == 1))
    if len(wrong):
        name = raw["ImageId"].iloc[wrong[0]]
        other = np.flatnonzero(outlined & (raw["ImageId"] == name).to_numpy())[0]
        raise UsageError(
            f"{file}: image {name!r} has no outline by row {row_number(raw, wrong[0])} and one in "
            f"row {row_number(raw, other)}.",
            OWN,
        )
    boxes = pd.DataFrame({"image_index": raw["ImageId"][outlined], "finding": FINDING})
    boxes[list(BOX_COLUMNS[2:])] = outline_boxes(raw[MARK][outlined], file)
    return Source(
        "siim", "SIIM-ACR Pneumothorax", image_table(names), (FINDING,), labels,
        np.ones_like(labels), images=folder, hashed=(file,),
        boxes=boxes.set_index(boxes.index + 2).sort_values(list(BOX_COLUMNS)),
        box_file=file, box_frame=float(SIDE), has_patients=False,
        notes=(*blank_rows(raw, file), NIH_IMAGES),
    )  # fmt: skip


def outline_boxes(column: "pd.Series[str]", file: Path) -> NDArray[np.float64]:
    """Return the box around each outline: x, y, width and height in pixels (N, 4).

    A cell holds pairs of numbers: how many pixels lie between the end of the run before (at first,
    the image's beginning) and this run, and how many pixels it has. Pixels are counted down the
    columns of the image, the left one first.
    """
    if column.empty:
        return np.empty((0, 4))
    cells = column.str.split().to_list()
    counts = np.array([len(cell) for cell in cells])
    _refuse_runs(counts % 2 == 1, "pairs of a gap and a length", column, file)
    damaged = [not all(text.isdecimal() and len(text) < DIGITS for text in cell) for cell in cells]
    _refuse_runs(np.array(damaged), "whole numbers", column, file)
    pairs = np.array([text for cell in cells for text in cell], dtype=np.int64).reshape(-1, 2)
    of = np.repeat(np.arange(len(cells)), counts // 2)  # the outline of each run
    firsts = np.flatnonzero(np.diff(of, prepend=-1))
    ends = np.cumsum(pairs.sum(axis=1))
    ends -= (ends[firsts] - pairs[firsts].sum(axis=1))[of]
    wrong = (pairs[:, 1] < 1) | (ends > SIDE**2)
    _refuse_runs(np.bincount(of, wrong) > 0, f"runs within {SIDE} × {SIDE} pixels", column, file)
    starts, last = ends - pairs[:, 1], ends - 1
    left, right = starts // SIDE, last // SIDE
    wraps = left < right  # a run that goes on in the next column touches both ends of one
    top, bottom = np.where(wraps, 0, starts % SIDE), np.where(wraps, SIDE - 1, last % SIDE)
    x, y = (np.minimum.reduceat(one, firsts) for one in (left, top))
    width, height = (np.maximum.reduceat(one, firsts) + 1 for one in (right, bottom))
    return np.stack([x, y, width - x, height - y], axis=1).astype(np.float64)


def _refuse_runs(wrong: NDArray[np.bool_], rule: str, column: "pd.Series[str]", file: Path) -> None:
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"{file}, row {row_number(column, row)}: run lengths should be {rule}, or {NOTHING}. "
            f"Found {column.iloc[row][:40]!r}.",
            OWN,
        )
