"""VinDr-CXR as Kaggle's VinBigData challenge has it: a row for each reader and finding.

Nguyen et al., Scientific Data 2022. Three of 17 radiologists read each image; a finding counts
when at least as many report it as `--readers` says (2: the majority).
"""

from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import is_healthy
from deepchest_cli.data.shards import LONGEST_NAME
from deepchest_cli.data.sources.base import BOX_COLUMNS, BOX_SLACK, Source, blank_table
from deepchest_cli.data.sources.labels_csv import refuse_long_findings
from deepchest_cli.data.tabular.cells import patient_numbers
from deepchest_cli.data.tabular.columns import (
    need_column,
    refuse_blank,
    refuse_names,
    whole_numbers,
)
from deepchest_cli.data.tabular.labels import name_findings
from deepchest_cli.data.tabular.tables import blank_rows, read_table, row_number
from deepchest_cli.errors import UsageError

MAJORITY = 2  # of three readers
# a column of the original's width and one of its height: in train.csv, as with the copies of 256 to
# 1024 px, or in a table beside it, where `dim0` counts rows
SIZES = ("width", "height")
META_FILE, META_SIZES = "train_meta.csv", ("dim1", "dim0")
UNSIZED = (
    "No table has the sizes of the original images (columns `width` and `height`): boxes are taken "
    "to be in the pixels of the image files."
)
COLUMNS = ("image_id", "class_name", "class_id", "rad_id", "x_min", "y_min", "x_max", "y_max")


def vindr(folder: Path, config: PrepareConfig) -> Source:
    """Return the images of train.csv with the findings that enough readers agree on."""
    file = folder / "train.csv"
    raw = read_table(file)
    _check(raw, file)
    names = np.unique(raw["image_id"].to_numpy(dtype=str))
    reported = raw[~raw["class_name"].map(is_healthy).to_numpy(dtype=bool)]
    number_of = dict(zip(reported["class_name"], pd.to_numeric(reported["class_id"]), strict=True))
    classes = sorted(number_of, key=lambda name: float(number_of[name]))
    findings = name_findings(classes, file)
    refuse_long_findings(findings, file)
    readers = reported.groupby(["image_id", "class_name"])["rad_id"].nunique()
    agreed = readers[readers >= (config.readers or MAJORITY)].index
    labels = np.zeros((len(names), len(classes)), dtype=np.uint8)
    rows = np.searchsorted(names, agreed.get_level_values(0).to_numpy(dtype=str))
    labels[rows, [classes.index(name) for name in agreed.get_level_values(1)]] = 1
    table = blank_table(pd.Series(names))
    table["patient_id"] = patient_numbers(pd.Series(names))
    meta = folder / META_FILE
    sized = file if set(SIZES) <= set(raw.columns) else meta if meta.is_file() else None
    if sized is not None:
        given, columns = (raw, SIZES) if sized == file else (read_table(meta), META_SIZES)
        table[["original_width", "original_height"]] = _sizes(given, columns, names, sized)
    renamed = dict(zip(classes, findings, strict=True))
    return Source(
        kind="vindr",
        title="VinDr-CXR",
        table=table,
        findings=findings,
        labels=labels,
        known=np.ones_like(labels),
        images=folder,
        hashed=tuple(dict.fromkeys((file, sized or file))),
        boxes=_boxes(reported, set(agreed), renamed, file, table),
        box_file=file,
        has_patients=False,
        policies={"readers": str(config.readers or MAJORITY)},
        notes=(*blank_rows(raw, file), *((UNSIZED,) * (sized is None))),
    )


def _check(raw: pd.DataFrame, file: Path) -> None:
    for name in COLUMNS:
        need_column(raw, (name,), file, "Use the challenge's own train.csv.")
    for name in ("image_id", "class_name", "class_id", "rad_id"):
        refuse_blank(raw[name], file)
    refuse_names(raw["image_id"], LONGEST_NAME, file)
    whole_numbers(raw["class_id"], file)


def _sizes(
    raw: pd.DataFrame, columns: tuple[str, str], names: NDArray[np.str_], file: Path
) -> NDArray[np.int32]:
    """Return width and height of each image (N, 2); -1: the table does not know it."""
    hint = "Use the table as it was downloaded."
    given = {"image_id": raw[need_column(raw, ("image_id",), file, hint)]}
    for side, column in zip(SIZES, columns, strict=True):
        given[side] = whole_numbers(raw[need_column(raw, (column,), file, hint)], file)
    sizes = pd.DataFrame(given).drop_duplicates()
    several = sizes["image_id"].duplicated()
    if several.any():
        name = sizes["image_id"][several].iloc[0]
        raise UsageError(f"{file}: image {name!r} has several sizes.", hint)
    by_name = sizes.set_index("image_id")[list(SIZES)].reindex(names)
    return by_name.fillna(-1).to_numpy(dtype=np.int32)


def _boxes(
    reported: pd.DataFrame,
    agreed: set[tuple[str, str]],
    renamed: dict[str, str],
    file: Path,
    table: pd.DataFrame,
) -> pd.DataFrame:
    """Return the boxes of findings that count, of every reader who reports them."""
    pairs = zip(reported["image_id"], reported["class_name"], strict=True)
    kept = reported[[pair in agreed for pair in pairs]]
    corners = kept[["x_min", "y_min", "x_max", "y_max"]].apply(pd.to_numeric, errors="coerce")
    corners = corners.astype(np.float64)  # without a row they are still text
    given = corners.to_numpy()
    rows = np.searchsorted(table["image_index"].to_numpy(dtype=str), kept["image_id"].to_numpy(str))
    sizes = table[["original_width", "original_height"]].to_numpy(dtype=np.float64)[rows]
    ends = np.where(sizes > 0, sizes + BOX_SLACK, np.inf)
    inside = (given[:, :2] >= 0) & (given[:, 2:] > given[:, :2]) & np.isfinite(given[:, 2:])
    wrong = np.flatnonzero(~(inside & (given[:, 2:] <= ends)).all(axis=1))  # NaN is never larger
    if len(wrong):
        width, height = sizes[wrong[0]]
        within = f" of an image of {width:g} × {height:g} pixels" if width > 0 else ""
        raise UsageError(
            f"{file}, row {row_number(kept, wrong[0])}: a box needs x_min < x_max and y_min < "
            f"y_max, from 0{within}. Found {given[wrong[0]].tolist()}."
        )
    boxes = pd.DataFrame({"image_index": kept["image_id"], "finding": kept["class_name"]})
    boxes["finding"] = boxes["finding"].map(renamed)
    boxes["x"], boxes["y"] = corners["x_min"], corners["y_min"]
    boxes["width"] = corners["x_max"] - corners["x_min"]
    boxes["height"] = corners["y_max"] - corners["y_min"]
    return boxes.set_index(kept.index + 2).sort_values(list(BOX_COLUMNS))
