"""NIH ChestX-ray14 as a source: its table, its split lists and its boxes."""

import io
from functools import partial
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.demo import is_demo
from deepchest_cli.data.findings import FINDINGS
from deepchest_cli.data.sources.base import (
    BOX_COLUMNS,
    OwnSplits,
    Source,
    boxes_inside,
    no_boxes,
)
from deepchest_cli.data.sources.nih_metadata import (
    BOX_FILE,
    BOX_FRAME,
    BOX_SPELLINGS,
    METADATA_FILES,
    SPLIT_LISTS,
    WHOLE_TABLE,
    Metadata,
    read_metadata,
)
from deepchest_cli.data.tabular.tables import read_text
from deepchest_cli.data.text import count_of, few
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
    for split, name in SPLIT_LISTS.items():
        path = find_beside(source, name)
        if path is None:
            raise UsageError(
                f"{source / name} is missing, and --split-scheme official needs it.",
                "Put NIH's list there, or split by patient at random: --split-scheme random",
            )
        lines = read_text(path).splitlines()
        lists[split] = frozenset(line.strip() for line in lines if line.strip())
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
        text, names = io.StringIO(read_text(path)), list(BOX_COLUMNS)
        raw = pd.read_csv(text, header=None, skiprows=1, usecols=range(6), names=names)
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
    given = boxes[list(BOX_COLUMNS[2:])].to_numpy(dtype=np.float64)
    wrong = (
        ~boxes_inside(given, BOX_FRAME)
        | boxes[["image_index", "finding"]].isna().any(axis=1).to_numpy()
    )
    if wrong.any():
        row = int(np.flatnonzero(wrong)[0])
        raise UsageError(
            f"{path}, row {row + 2}: a box needs an image, a finding, and x, y, width and height "
            f"above 0 within {BOX_FRAME:.0f} pixels. Found {boxes.iloc[row].tolist()}."
        )


def read_nih(folder: Path) -> Source:
    """Read the table, the boxes and, when asked for, the split lists of an NIH folder."""
    path = find_metadata(folder)
    return nih_source(folder, read_metadata(path), (path,), path.name)


def nih_source(folder: Path, metadata: Metadata, tables: tuple[Path, ...], name: str) -> Source:
    """Return NIH's radiographs with the boxes and split lists of a folder.

    tables: the files that the metadata come from, which `name` stands for in messages.
    """
    labels = metadata.table[list(FINDINGS)].to_numpy(dtype=np.uint8)
    table = metadata.table.drop(columns=list(FINDINGS))
    table["path"] = table["study"] = table["image_index"]
    file = find_beside(folder, BOX_FILE)
    boxes, notes = read_boxes(file), list(metadata.warnings)
    synthetic = is_demo(folder)
    if not synthetic and len(table) != WHOLE_TABLE:
        notes.append(f"{name} has {len(table):,} of NIH's {WHOLE_TABLE:,} rows.")
    return Source(
        kind="nih",
        title="synthetic radiographs" if synthetic else "NIH ChestX-ray14",
        table=table,
        findings=FINDINGS,
        labels=labels,
        known=np.ones_like(labels),
        images=folder,
        hashed=tables if file is None else (*tables, file),
        label_version=metadata.label_version,
        boxes=boxes,
        box_file=file,
        box_frame=BOX_FRAME,
        warnings=_stray_boxes(boxes, table["image_index"], labels),
        own_scheme="official",
        own_splits=partial(official_splits, folder, table["image_index"]),
        synthetic=synthetic,
        notes=tuple(notes),
    )


def official_splits(folder: Path, names: "pd.Series[str]") -> OwnSplits:
    """Return NIH's split of some images, by the lists in a folder; `UsageError` as the lists."""
    lists, paths = read_split_lists(folder)
    splits = np.full(len(names), "", dtype="<U10")
    for split, listed in lists.items():
        splits[names.isin(listed).to_numpy()] = split
    for split, path in zip(lists, paths, strict=True):
        if not (splits == split).any():
            raise UsageError(
                f"{path} names none of the {len(names):,} images of the table.",
                "Restore NIH's list, or split by patient at random: --split-scheme random",
            )
    unlisted, where = names[splits == ""], ", in neither split list,"
    number = count_of(len(unlisted), f"image{where} is", f"images{where} are")
    warnings = (f"{number} left out: {few(unlisted)}.",) * bool(len(unlisted))
    rowless = len((lists["train_val"] | lists["test"]) - set(names))
    number = count_of(rowless, "name of the split lists has", "names of the split lists have")
    note = f"{number} no row in the metadata."
    return OwnSplits(splits, paths, (note,) * bool(rowless), warnings)


def _stray_boxes(
    boxes: pd.DataFrame, names: "pd.Series[str]", labels: NDArray[np.uint8]
) -> tuple[str, ...]:
    """Warn of boxes of findings that their images lack; in NIH's own files there are none."""
    row_of = {name: row for row, name in enumerate(names)}
    pairs = zip(boxes["image_index"], boxes["finding"], strict=True)
    stray = [
        image
        for image, finding in pairs
        if image in row_of and not labels[row_of[image], FINDINGS.index(finding)]
    ]
    number = count_of(len(stray), "box is of a finding", "boxes are of findings")
    return (f"{number} without a label in the table: {few(stray)}.",) * bool(stray)
