"""What every source of radiographs is read into."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.images import Stream
from deepchest_cli.data.shards import NUMBER_COLUMNS
from deepchest_cli.data.tabular.cells import patient_numbers

BOX_SLACK = 1.0  # pixels by which rounding may put the end of a box outside its image
BOX_COLUMNS = ("image_index", "finding", "x", "y", "width", "height")
NIH_IMAGES = (
    "The radiographs are from NIH ChestX-ray14: a model that was trained on NIH's images may have "
    "seen them."
)
FRONTAL = frozenset({"PA", "AP", ""})  # views; an unknown one stays


def no_boxes() -> pd.DataFrame:
    """Return a table of boxes without rows."""
    return pd.DataFrame({name: [] for name in BOX_COLUMNS})


@dataclass(frozen=True)
class OwnSplits:
    """The source's own split: train_val, train, validation, test or nothing for each row (N,)."""

    splits: NDArray[np.str_]
    hashed: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True)
class Source:
    """One row per image, sorted by image index, with labels; T findings. Nothing is decoded yet."""

    kind: str  # as --layout names it
    title: str  # for people
    # the columns of a shard but for `split` and `source`; `path`: where the images' files are said
    # to be; and `source_row`: the row of `all_paths`
    table: pd.DataFrame
    findings: tuple[str, ...]
    labels: NDArray[np.uint8]  # (N, T), 1: present
    known: NDArray[np.uint8]  # (N, T), 0: the source says nothing
    images: Path  # folder below which the images lie, or an archive of arrays
    hashed: tuple[Path, ...]  # the files that the rows come from
    streams: tuple[Stream, ...] = ()  # where images lie that are not found by their files
    label_version: str = "unknown"
    boxes: pd.DataFrame = field(default_factory=no_boxes)  # its index: the row in `box_file`
    box_file: Path | None = None
    # pixels of the square that boxes are given on; None: an image of original_width and _height,
    # or of the file's size where these are not known
    box_frame: float | None = None
    own_scheme: str = "random"
    own_splits: Callable[[], OwnSplits] | None = None
    has_patients: bool = True  # whether it says which images are of one patient
    has_studies: bool = False  # whether it says which images are of one examination
    synthetic: bool = False
    notes: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()
    all_paths: tuple[str, ...] = ()  # of all rows, also those that are not wanted
    policies: dict[str, str] = field(default_factory=dict)  # how doubtful labels were read


def boxes_inside(
    boxes: NDArray[np.float64], frame: NDArray[np.float64] | float
) -> NDArray[np.bool_]:
    """Return which boxes, x, y, width and height (B, 4), have an area and lie in their frame (B,).

    frame: width and height of each box's image (B, 2), or the side of all. NaN is never inside.
    """
    starts, sizes = boxes[:, :2], boxes[:, 2:]
    inside = (starts >= 0) & (sizes > 0) & (starts + sizes <= frame + BOX_SLACK)
    return np.asarray((inside & np.isfinite(sizes)).all(axis=1))


def blank_table(names: "pd.Series[str]") -> pd.DataFrame:
    """Return a table of images about which nothing else is known."""
    same = names.to_numpy()
    table = pd.DataFrame({"image_index": same, "path": same, "study": same, "sex": "", "view": ""})
    table[list(NUMBER_COLUMNS)] = -1
    return table.assign(age=np.nan)


def image_table(names: NDArray[np.str_]) -> pd.DataFrame:
    """Return a table of images (N,), each of which is a patient of its own."""
    column = pd.Series(names)
    return blank_table(column).assign(patient_id=patient_numbers(column))


def keep_rows(source: Source, rows: NDArray[np.bool_], note: str) -> Source:
    """Return a source with some of its rows (N,), and say so if any others were there."""
    if rows.all():
        return source
    own = source.own_splits
    return replace(
        source,
        own_splits=None if own is None else lambda: replace(own(), splits=own().splits[rows]),
        table=source.table[rows].reset_index(drop=True),
        labels=source.labels[rows],
        known=source.known[rows],
        notes=(*source.notes, note) if note else source.notes,
    )
