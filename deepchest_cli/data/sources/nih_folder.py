"""The files of an NIH folder: which is which, the split lists, the boxes."""

import io
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd

from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.base import BOX_COLUMNS, BOX_SLACK, no_boxes
from deepchest_cli.data.sources.nih_layout import (
    BOX_FRAME,
    BOX_SPELLINGS,
    METADATA_FILES,
    SPLIT_LISTS,
)
from deepchest_cli.data.sources.tables import read_text
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError


def find_metadata(source: Path) -> Path:
    """Return the metadata file of an NIH folder, or of one in it, the newest labels first."""
    if not source.is_dir():
        raise UsageError(
            f"There is no folder {source}.",
            "Download NIH ChestX-ray14 there (data/README.md says how), name another folder with "
            "--source, or try synthetic radiographs: deepchest prepare --demo",
        )
    for name in METADATA_FILES:
        found = find_beside(source, name)
        if found is not None:
            return found
    raise UsageError(
        f"{source} has no metadata table ({', '.join(METADATA_FILES)}).",
        "Put NIH's CSV file beside the images, or name the table of other data with --labels-csv.",
    )


def find_beside(source: Path, name: str) -> Path | None:
    """Return a file of NIH's, packed with gzip or not: in the folder or up to two below."""
    for depth in ("", "*/", "*/*/"):
        places = chain(source.glob(f"{depth}{name}"), source.glob(f"{depth}{name}.gz"))
        files = sorted(path for path in places if path.is_file())
        if any(read_text(path) != read_text(files[0]) for path in files[1:]):
            raise UsageError(
                f"{source} has several {name}: {', '.join(map(str, files))}.",
                "Name the folder of one with --source.",
            )
        if files:
            return files[0]
    return None


def read_split_lists(source: Path) -> tuple[dict[str, frozenset[str]], tuple[Path, ...]]:
    """Return NIH's image names under "train_val" and "test", and the files they are from."""
    lists, paths = {}, []
    for part, name in SPLIT_LISTS.items():
        path = find_beside(source, name)
        if path is None:
            raise UsageError(
                f"{source / name} is missing, and --split-scheme official needs it.",
                "Put NIH's list there, or split by patient at random: --split-scheme random",
            )
        lines = read_text(path).splitlines()
        lists[part] = frozenset(line.strip() for line in lines if line.strip())
        paths.append(path)
    both = sorted(lists["train_val"] & lists["test"])
    if both:
        raise UsageError(
            f"{count_of(len(both), 'image stands', 'images stand')} in both split lists, the first "
            f"is {both[0]}.",
            "Restore NIH's own lists.",
        )
    return lists, tuple(paths)


def read_boxes(path: Path | None) -> pd.DataFrame:
    """Return NIH's boxes: image_index, finding, x, y, width, height in pixels of the 1024 frame.

    The file's header names nine columns for six, so it is skipped; a missing file has no boxes.
    """
    if path is None:
        return no_boxes()
    numbers = list(BOX_COLUMNS[2:])
    try:
        raw = pd.read_csv(
            io.StringIO(read_text(path)),
            header=None,
            skiprows=1,
            usecols=range(6),
            names=list(BOX_COLUMNS),
        )
        raw[numbers] = raw[numbers].astype(np.float64)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, ValueError) as error:
        raise UsageError(f"{path} is no readable table of boxes: {error}.") from error
    _refuse_impossible_boxes(raw, path)
    raw["finding"] = raw["finding"].replace(BOX_SPELLINGS)
    unknown = sorted(set(raw["finding"]) - set(FINDINGS))
    if unknown:
        raise UsageError(f"{path}: unknown finding {unknown[0]!r}.")
    return raw.set_index(raw.index + 2).sort_values(["image_index", "finding"])


def _refuse_impossible_boxes(boxes: pd.DataFrame, path: Path) -> None:
    frame = boxes[["x", "y", "width", "height"]].to_numpy(dtype=np.float64)
    ends = frame[:, :2] + frame[:, 2:]
    possible = (frame >= 0).all(axis=1) & (frame[:, 2:] > 0).all(axis=1)
    possible &= (ends <= BOX_FRAME + BOX_SLACK).all(axis=1)  # NaN is never smaller
    wrong = ~possible | boxes[["image_index", "finding"]].isna().any(axis=1).to_numpy()
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"{path}, row {row + 2}: a box needs an image, a finding, and x, y, width and height "
            f"above 0 within {BOX_FRAME:.0f} pixels. Found {boxes.iloc[row].tolist()}."
        )
