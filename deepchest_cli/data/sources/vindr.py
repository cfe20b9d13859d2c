"""VinDr-CXR as Kaggle's VinBigData challenge has it: a row for each reader and finding.

Nguyen et al., Scientific Data 2022. Three of 17 radiologists read each image; a finding counts
when at least as many report it as `--readers` says (2: the majority).
"""

from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.shards import LONGEST_NAME
from deepchest_cli.data.sources.base import BOX_COLUMNS, Source, blank_table
from deepchest_cli.data.sources.label_values import check_no_finding, is_healthy, name_findings
from deepchest_cli.data.sources.people import patient_numbers, whole_numbers
from deepchest_cli.data.sources.tables import (
    need_column,
    read_table,
    refuse_blank,
    refuse_names,
)
from deepchest_cli.errors import UsageError

MAJORITY = 2  # of three readers
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
    check_no_finding(findings, file)
    readers = reported.groupby(["image_id", "class_name"])["rad_id"].nunique()
    agreed = readers[readers >= (config.readers or MAJORITY)].index
    labels = np.zeros((len(names), len(classes)), dtype=np.uint8)
    rows = np.searchsorted(names, agreed.get_level_values(0).to_numpy(dtype=str))
    labels[rows, [classes.index(name) for name in agreed.get_level_values(1)]] = 1
    table = blank_table(pd.Series(names))
    table["patient_id"] = patient_numbers(pd.Series(names))
    renamed = dict(zip(classes, findings, strict=True))
    return Source(
        kind="vindr",
        title="VinDr-CXR",
        table=table,
        findings=findings,
        labels=labels,
        known=np.ones_like(labels),
        images=folder,
        hashed=(file,),
        boxes=_boxes(reported, set(agreed), renamed, file),
        has_patients=False,
        policies={"readers": str(config.readers or MAJORITY)},
    )


def _check(raw: pd.DataFrame, file: Path) -> None:
    for name in COLUMNS:
        need_column(raw, (name,), file, "Use the challenge's own train.csv.")
    for name in ("image_id", "class_name", "class_id", "rad_id"):
        refuse_blank(raw[name], file)
    refuse_names(raw["image_id"], LONGEST_NAME, file)
    whole_numbers(raw["class_id"], file)


def _boxes(
    reported: pd.DataFrame, agreed: set[tuple[str, str]], renamed: dict[str, str], file: Path
) -> pd.DataFrame:
    """Return the boxes of findings that count, of every reader who reports them."""
    pairs = zip(reported["image_id"], reported["class_name"], strict=True)
    kept = reported[[pair in agreed for pair in pairs]]
    corners = kept[["x_min", "y_min", "x_max", "y_max"]].apply(pd.to_numeric, errors="coerce")
    given = corners.to_numpy(dtype=np.float64)
    ordered = (given[:, :2] >= 0).all(axis=1) & (given[:, 2:] > given[:, :2]).all(axis=1)
    wrong = np.flatnonzero(~ordered)  # NaN is never larger
    if len(wrong):
        raise UsageError(
            f"{file}, row {kept.index[wrong[0]] + 2}: a box needs x_min < x_max and y_min < y_max, "
            f"from 0. Found {given[wrong[0]].tolist()}."
        )
    boxes = pd.DataFrame(
        {
            "image_index": kept["image_id"],
            "finding": kept["class_name"].map(renamed),
            "x": corners["x_min"],
            "y": corners["y_min"],
            "width": corners["x_max"] - corners["x_min"],
            "height": corners["y_max"] - corners["y_min"],
        }
    )
    return boxes.sort_values(list(BOX_COLUMNS), ignore_index=True)
