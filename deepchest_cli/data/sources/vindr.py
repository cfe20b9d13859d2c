"""VinDr-CXR (Nguyen et al., Scientific Data 2022), as Kaggle's challenge and as PhysioNet have it.

Three of 17 radiologists read each training image; a finding counts when at least as many report it
as `--readers` says (2: the majority). Kaggle has a row for each reader and box of the training
images. PhysioNet has tables of boxes like it, and beside them the labels of images: a row for each
reader in training, one for the readers' consensus in test.
"""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.findings import is_healthy
from deepchest_cli.data.shards import LONGEST_NAME
from deepchest_cli.data.sources.base import (
    BOX_COLUMNS,
    OwnSplits,
    Source,
    boxes_inside,
    image_table,
)
from deepchest_cli.data.sources.labels_csv import refuse_absent
from deepchest_cli.data.tabular.cells import PRESENT, UNCERTAIN
from deepchest_cli.data.tabular.columns import (
    need_column,
    refuse_blank,
    refuse_names,
    refuse_repeated,
    whole_numbers,
)
from deepchest_cli.data.tabular.labels import read_cells
from deepchest_cli.data.tabular.tables import (
    blank_rows,
    find_table,
    header_of,
    read_table,
    row_number,
)
from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError

MAJORITY = 2  # of three readers
READER = "rad_id"
CORNERS = ("x_min", "y_min", "x_max", "y_max")
KAGGLE, KAGGLE_HINT = "train.csv", "Use the challenge's own train.csv."
BOXES, LABELS = "annotations_{}.csv", "image_labels_{}.csv"  # of PhysioNet, for train and test
PHYSIONET_SPLITS = {"train": "train_val", "test": "test"}
PHYSIONET_HINT = "Use PhysioNet's own tables."
RESPELLED = {"Other disease": "Other diseases"}  # in PhysioNet's labels of test images
# a column of the original's width and one of its height: in the table of boxes, as with the copies
# of 256 to 1024 px, or in a table beside Kaggle's, where `dim0` counts rows
SIZES = ("width", "height")
META_FILE, META_SIZES = "train_meta.csv", ("dim1", "dim0")
UNSIZED = (
    "No table has the sizes of the original images (columns `width` and `height`): boxes are taken "
    "to be in the pixels of the image files."
)


@dataclass(frozen=True)
class _Release:
    """What the tables of one split say."""

    votes: pd.DataFrame  # (N, C), how many readers report each class; by image and class, in order
    needed: int  # readers without whom a class does not count
    few_readers: int  # images that fewer readers have read
    boxed: pd.DataFrame  # rows about boxes
    file: Path  # that these are from
    sizes: NDArray[np.int32]  # (N, 2), width and height of the original; -1: unknown
    split: str
    hashed: tuple[Path, ...]
    notes: tuple[str, ...]

    @property
    def agreed(self) -> NDArray[np.bool_]:
        """Whether a class counts (N, C)."""
        return (self.votes >= self.needed).to_numpy()


def find_vindr(folder: Path) -> bool:
    """Whether a folder has the tables of Kaggle or of PhysioNet."""
    table = find_table(folder, KAGGLE)
    return bool(_find_physionet(folder)) or (table is not None and READER in header_of(table))


def _find_physionet(folder: Path) -> dict[str, Path]:
    """Return PhysioNet's tables of labels by the name of their split."""
    places = (folder / "annotations", folder)
    found = (
        (name, find_table(at, LABELS.format(name))) for at in places for name in ("train", "test")
    )
    tables: dict[str, Path] = {}
    for name, path in found:
        if path is not None:
            tables.setdefault(name, path)
    return tables


def vindr(folder: Path, config: PrepareConfig) -> Source:
    """Return the images with the findings that enough readers agree on, and these findings' boxes.

    Raises `UsageError` naming the row of a label or a box that is none.
    """
    needed = config.readers or MAJORITY
    tables = _find_physionet(folder)
    if tables:
        releases = [_physionet(split, path, needed) for split, path in tables.items()]
    else:
        releases = [_kaggle(folder, needed)]
    classes = list(dict.fromkeys(name for one in releases for name in one.votes.columns))
    names = np.concatenate([one.votes.index.to_numpy(dtype=str) for one in releases])
    _, first = np.unique(names, return_index=True)
    if len(first) < len(names):
        twice = str(np.delete(names, first)[0])
        raise UsageError(f"{folder}: image {twice!r} is in training and in test.", PHYSIONET_HINT)
    cells = [pd.DataFrame(one.agreed, columns=one.votes.columns) for one in releases]
    joined = pd.concat(cells, ignore_index=True).reindex(columns=classes)
    order = np.argsort(names, kind="stable")
    table = image_table(names[order])
    table[["original_width", "original_height"]] = np.concatenate([r.sizes for r in releases])[
        order
    ]
    splits = np.repeat([one.split for one in releases], [len(one.votes) for one in releases])[order]
    boxes = [_boxes(one) for one in releases]
    if len(releases) > 1:  # rows of several tables are told apart by the tables' names
        for one, table_of in zip(releases, boxes, strict=True):
            table_of.index = [f"{row} of {one.file.name}" for row in table_of.index]
    few = sum(one.few_readers for one in releases)
    fewer = count_of(few, "image was", "images were")
    sized = np.concatenate([one.sizes for one in releases]).min() > 0
    return Source(
        kind="vindr",
        title="VinDr-CXR",
        table=table,
        findings=tuple(classes),
        labels=(joined == True).to_numpy(dtype=np.uint8)[order],  # noqa: E712
        known=joined.notna().to_numpy(dtype=np.uint8)[order],
        images=folder,
        hashed=tuple(dict.fromkeys(path for one in releases for path in one.hashed)),
        boxes=pd.concat(boxes).sort_values(list(BOX_COLUMNS)),
        box_file=releases[0].file if len(releases) == 1 else None,
        own_scheme="official" if tables else "random",
        own_splits=(lambda: OwnSplits(splits.astype("<U10"))) if tables else None,
        has_patients=False,
        policies={"readers": str(needed)},
        notes=(*(note for one in releases for note in one.notes), *(UNSIZED,) * (not sized)),
        warnings=(f"{fewer} read by fewer than {needed} readers: no finding counts.",) * bool(few),
    )


def _kaggle(folder: Path, needed: int) -> _Release:
    file = refuse_absent(find_table(folder, KAGGLE), f"table {KAGGLE}", folder)
    raw = _box_table(file, (READER, "class_id"), KAGGLE_HINT)
    whole_numbers(raw["class_id"], file)
    names = np.unique(raw["image_id"].to_numpy(dtype=str))
    reported = raw[~raw["class_name"].map(is_healthy).to_numpy(dtype=bool)]
    number_of = dict(zip(reported["class_name"], pd.to_numeric(reported["class_id"]), strict=True))
    classes = sorted(number_of, key=lambda name: float(number_of[name]))
    votes = reported.groupby(["image_id", "class_name"])[READER].nunique().unstack(fill_value=0)
    read = raw.groupby("image_id")[READER].nunique()
    meta = find_table(folder, META_FILE)
    by_meta = meta is not None and not set(SIZES) <= set(raw.columns)
    sizes = _sizes(read_table(meta), META_SIZES, names, meta) if meta and by_meta else None
    return _Release(
        votes.reindex(index=names, columns=classes, fill_value=0), needed,
        int((read < needed).sum()), reported, file,
        sizes=_own_sizes(raw, names, file) if sizes is None else sizes, split="",
        hashed=(file, meta) if meta and by_meta else (file,), notes=blank_rows(raw, file),
    )  # fmt: skip


def _physionet(split: str, path: Path, needed: int) -> _Release:
    labels = read_table(path)
    file = find_table(path.parent, BOXES.format(split))
    file = refuse_absent(file, f"table {BOXES.format(split)}", path.parent)
    boxes = _box_table(file, (), PHYSIONET_HINT)
    need_column(labels, ("image_id",), path, PHYSIONET_HINT)
    refuse_blank(labels["image_id"], path)
    refuse_names(labels["image_id"], LONGEST_NAME, path)
    several = split == "train"  # readers; test has their consensus
    if several:
        need_column(labels, (READER,), path, PHYSIONET_HINT)
    else:
        needed = 1
    refuse_repeated(labels["image_id"] + ("/" + labels[READER] if several else ""), path)
    classes = [c for c in labels.columns if c not in ("image_id", READER) and not is_healthy(c)]
    states = np.stack([read_cells(labels[name], path) for name in classes], axis=1)
    if (states == UNCERTAIN).any():
        row, column = np.argwhere(states == UNCERTAIN)[0]
        raise UsageError(
            f"{path}, row {row_number(labels, row)}: column {classes[column]!r} should be 0 or 1.",
            PHYSIONET_HINT,
        )
    reports = pd.DataFrame(states == PRESENT, columns=[RESPELLED.get(c, c) for c in classes])
    by_image = reports.groupby(labels["image_id"].to_numpy(dtype=str))
    votes = by_image.sum()  # in the order of the images' names
    names = votes.index.to_numpy(dtype=str)
    stray = np.flatnonzero(~boxes["image_id"].isin(names).to_numpy())
    if len(stray):
        raise UsageError(
            f"{file}, row {row_number(boxes, stray[0])}: image "
            f"{boxes['image_id'].iloc[stray[0]]!r} has no labels in {path.name}.",
            PHYSIONET_HINT,
        )
    return _Release(
        votes, needed, int((by_image.size() < needed).sum()),
        boxes[~boxes["class_name"].map(is_healthy).to_numpy(dtype=bool)], file,
        sizes=_own_sizes(boxes, names, file), split=PHYSIONET_SPLITS[split], hashed=(path, file),
        notes=(*blank_rows(labels, path), *blank_rows(boxes, file)),
    )  # fmt: skip


def _box_table(file: Path, more: tuple[str, ...], hint: str) -> pd.DataFrame:
    """Return a table with a row for each box, and for each image without findings."""
    raw = read_table(file)
    for name in ("image_id", "class_name", *more, *CORNERS):
        need_column(raw, (name,), file, hint)
    for name in ("image_id", "class_name", *more):
        refuse_blank(raw[name], file)
    refuse_names(raw["image_id"], LONGEST_NAME, file)
    return raw


def _own_sizes(raw: pd.DataFrame, names: NDArray[np.str_], file: Path) -> NDArray[np.int32]:
    """Return the sizes in the table of boxes itself (N, 2); -1 where it has none."""
    if set(SIZES) <= set(raw.columns):
        return _sizes(raw, SIZES, names, file)
    return np.full((len(names), 2), -1, dtype=np.int32)


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


def _boxes(release: _Release) -> pd.DataFrame:
    """Return the boxes of classes that count, of every reader who reports them."""
    votes, boxed, file = release.votes, release.boxed, release.file
    columns = votes.columns.get_indexer(pd.Index(boxed["class_name"]))
    if (columns < 0).any():
        row = int(np.flatnonzero(columns < 0)[0])
        raise UsageError(
            f"{file}, row {row_number(boxed, row)}: {boxed['class_name'].iloc[row]!r} is no column "
            "of the table of labels.",
            PHYSIONET_HINT,
        )
    rows = votes.index.get_indexer(pd.Index(boxed["image_id"]))
    counts = release.agreed[rows, columns]
    kept, rows = boxed[counts], rows[counts]
    given = kept[list(CORNERS)].apply(pd.to_numeric, errors="coerce").to_numpy(dtype=np.float64)
    sizes = release.sizes[rows].astype(np.float64)
    boxes = np.hstack([given[:, :2], given[:, 2:] - given[:, :2]])
    wrong = np.flatnonzero(~boxes_inside(boxes, np.where(sizes > 0, sizes, np.inf)))
    if len(wrong):
        width, height = sizes[wrong[0]]
        within = f" of an image of {width:g} × {height:g} pixels" if width > 0 else ""
        raise UsageError(
            f"{file}, row {row_number(kept, wrong[0])}: a box needs x_min < x_max and y_min < "
            f"y_max, from 0{within}. Found {given[wrong[0]].tolist()}."
        )
    found = pd.DataFrame(boxes, columns=list(BOX_COLUMNS[2:]), index=kept.index + 2)
    found["image_index"] = kept["image_id"].to_numpy()
    found["finding"] = kept["class_name"].to_numpy()
    return found[list(BOX_COLUMNS)]
