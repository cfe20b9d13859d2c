"""The files of an NIH folder: which is which, the split lists, the boxes, the images."""

from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.nih_layout import (
    BOX_FILE,
    BOX_FRAME,
    BOX_SPELLINGS,
    METADATA_FILES,
    SPLIT_LISTS,
)
from deepchest_cli.data.radiograph import find_radiographs
from deepchest_cli.errors import UsageError


def find_metadata(source: Path) -> Path:
    """Return the metadata file of an NIH folder, the newest labels first."""
    if not source.is_dir():
        raise UsageError(
            f"There is no folder {source}.",
            "Download NIH ChestX-ray14 there (data/README.md says how), name another folder with "
            "--source, or try synthetic radiographs: deepchest prepare --demo",
        )
    for name in METADATA_FILES:
        if (source / name).is_file():
            return source / name
    raise UsageError(
        f"{source} has no metadata table ({', '.join(METADATA_FILES)}).",
        "Put NIH's CSV file beside the images.",
    )


def read_split_lists(source: Path) -> dict[str, frozenset[str]]:
    """Return NIH's image names under "train_val" and "test"."""
    lists = {}
    for part, name in SPLIT_LISTS.items():
        path = source / name
        if not path.is_file():
            raise UsageError(
                f"{path} is missing, and --split-scheme official needs it.",
                "Put NIH's list there, or split by patient at random: --split-scheme random",
            )
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except UnicodeDecodeError as error:
            raise UsageError(f"{path} is no plain text file: {error}.") from error
        lists[part] = frozenset(line.strip() for line in lines if line.strip())
        if not lists[part]:
            raise UsageError(f"{path} is empty.", "Download it again.")
    both = sorted(lists["train_val"] & lists["test"])
    if both:
        raise UsageError(
            f"{len(both)} images stand in both split lists, the first is {both[0]}.",
            "Restore NIH's own lists.",
        )
    return lists


def read_boxes(source: Path) -> pd.DataFrame:
    """Return NIH's boxes: image_index, finding, x, y, width, height in pixels of the 1024 frame.

    The file's header names nine columns for six, so it is skipped; a missing file has no boxes.
    """
    columns = ["image_index", "finding", "x", "y", "width", "height"]
    path = source / BOX_FILE
    if not path.is_file():
        return pd.DataFrame({name: [] for name in columns})
    try:
        raw = pd.read_csv(path, header=None, skiprows=1, usecols=range(6), names=columns)
        raw[columns[2:]] = raw[columns[2:]].astype(np.float64)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UsageError(f"{path} is no readable table of boxes: {error}.") from error
    _refuse_impossible_boxes(raw, path)
    raw["finding"] = raw["finding"].replace(BOX_SPELLINGS)
    unknown = sorted(set(raw["finding"]) - set(FINDINGS))
    if unknown:
        raise UsageError(f"{path}: unknown finding {unknown[0]!r}.")
    return raw.sort_values(["image_index", "finding"], ignore_index=True)


def _refuse_impossible_boxes(boxes: pd.DataFrame, path: Path) -> None:
    frame = boxes[["x", "y", "width", "height"]].to_numpy(dtype=np.float64)
    ends = frame[:, :2] + frame[:, 2:]
    possible = (frame >= 0).all(axis=1) & (ends <= BOX_FRAME + 1).all(axis=1)
    wrong = ~possible | boxes[["image_index", "finding"]].isna().any(axis=1).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"{path}, row {row + 2}: a box needs an image, a finding, and x, y, width and height "
            f"within {BOX_FRAME:.0f} pixels. Found {boxes.iloc[row].tolist()}."
        )


def find_images(source: Path) -> dict[str, Path]:
    """Return every image below a folder by its file name, however deep it lies."""
    found: dict[str, Path] = {}
    for path in find_radiographs(source):
        if path.name in found:
            raise UsageError(
                f"{path.name} is there twice: {found[path.name]} and {path}.",
                "Name the folder of one copy with --source.",
            )
        found[path.name] = path
    return found
