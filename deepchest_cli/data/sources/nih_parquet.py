"""NIH ChestX-ray14 in Parquet files with the images inside, as on Hugging Face."""

import os
import re
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from deepchest_cli.data.images import Stream
from deepchest_cli.data.parquet import SUFFIXES, image_column, open_parquet, stream_images
from deepchest_cli.data.sources.base import OwnSplits, Source
from deepchest_cli.data.sources.nih import find_beside, nih_source
from deepchest_cli.data.sources.nih_metadata import (
    METADATA_FILES,
    SPLIT_LISTS,
    WHOLE_TABLE,
    Metadata,
    read_metadata,
)
from deepchest_cli.data.sources.nih_parquet_file import (
    COLUMNS,
    IMAGE,
    LABELS,
    PATIENT,
    SPLIT,
    Part,
    read_part,
)
from deepchest_cli.data.tabular.columns import choose_column, need_column, refuse_repeated
from deepchest_cli.data.tabular.tables import BLANK_ROWS, read_table
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError

PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})")  # a file of several, without its suffix
DEEPEST = 2  # folders below the source
OFFICIAL_TEST = 25_596  # images in NIH's list


def find_parquet(source: Path) -> list[Path]:
    """Return the Parquet files of a source: itself, or those in it and up to two folders below."""
    if source.is_file():
        return [source] * (source.suffix.lower() in SUFFIXES)
    found = []
    for place, below, names in os.walk(source, followlinks=True):
        found += [Path(place, name) for name in names if name.lower().endswith(SUFFIXES)]
        if len(Path(place).relative_to(source).parts) == DEEPEST:
            below.clear()
    return sorted(found)


def holds_images(files: list[Path]) -> bool:
    """Whether there are files, the first of which has images or cannot be read."""
    try:
        return bool(files) and image_column(open_parquet(files[0])) is not None
    except UsageError:
        return True  # it is said when all are read


def read_nih_parquet(source: Path, allow_missing: bool) -> Source:
    """Read the tables of all files, not their images, and NIH's own tables and lists beside them.

    Raises `UsageError` naming file and row of what is wrong, and where files of a numbered set are
    missing, unless that is allowed.
    """
    files = find_parquet(source)
    if not files:
        raise UsageError(f"{source} holds no Parquet file.", "Name the folder: --source")
    folder = source if source.is_dir() else source.parent
    warnings = _missing_parts(files, allow_missing)
    parts = [read_part(path) for path in files]
    named = not any(part.lacks(IMAGE) for part in parts)
    notes: tuple[str, ...] = ()
    if not named:
        notes = ("The files do not name their images: they are named by file and row here.",)
        parts = [_name_by_row(part, folder) for part in parts]
    _refuse_repeated(parts)
    taken = _complete(parts, folder) if named else {}
    metadata, has_patients = _read_tables(parts, taken.get(LABELS, folder), named)
    read = nih_source(folder, metadata, (*files, *set(taken.values())), folder.name)
    splits = pd.concat([part.table.set_index(IMAGE)[SPLIT] for part in parts])
    own = _own_splits(splits.reindex(read.table["image_index"]).to_numpy(dtype="<U10"))
    if named and any(find_beside(folder, name) for name in SPLIT_LISTS.values()):
        own = read.own_splits
    parts.sort(key=lambda part: str(part.table[IMAGE].min()))  # rows of a shard come together
    return replace(
        read,
        kind="nih-parquet",
        title=f"{read.title} in Parquet",
        streams=tuple(
            Stream(part.path, partial(stream_images, part.path, tuple(part.table[IMAGE])))
            for part in parts
        ),
        own_scheme="official" if own else "random",
        own_splits=own,
        has_patients=has_patients,
        notes=(
            *notes,
            *(f"{name} is taken from {path.name}." for name, path in taken.items()),
            *read.notes,
        ),
        warnings=(*warnings, *read.warnings),
    )


def _missing_parts(files: list[Path], allow_missing: bool) -> tuple[str, ...]:
    """Return a warning for each numbered set that lacks files; raise where that is not allowed."""
    sets: dict[tuple[Path, str, str], set[int]] = {}
    for path in files:
        found = PART.fullmatch(path.stem)
        if found:
            sets.setdefault((path.parent, found[1], found[3]), set()).add(int(found[2]))
    warnings = []
    for (parent, name, count), there in sets.items():
        lost = [f"{name}-{n:05d}-of-{count}" for n in range(int(count)) if n not in there]
        if lost:
            number = count_of(len(lost), "file is", "files are")
            said = f"{parent}: {number} missing of {int(count)}: {few(lost)}."
            if not allow_missing:
                raise UsageError(
                    said, "Download what is missing, or go on with the others: --allow-missing"
                )
            warnings.append(said)
    return tuple(warnings)


def _name_by_row(part: Part, folder: Path) -> Part:
    inside = part.path.relative_to(folder).with_suffix("").as_posix().replace("/", "_")
    names = [f"{inside}_{row:06d}" for row in range(len(part.table))]
    return replace(part, table=part.table.assign(**{IMAGE: names}))


def _refuse_repeated(parts: list[Part]) -> None:
    """Raise for an image that stands in two rows, wherever they are."""
    names = pd.concat([part.table[IMAGE] for part in parts], keys=[str(p.path) for p in parts])
    repeated = names[names.duplicated(keep=False)]
    if len(repeated):
        name = repeated.iloc[0]
        places = [f"{path}, row {row + 2}" for path, row in repeated.index[repeated == name]]
        more = repeated.nunique() - 1
        raise UsageError(
            f"Image {name!r} is there {len(places)} times: {few(places, '; ')}"
            + (f", and {more:,} other images are repeated too." if more else "."),
            "Keep one copy, or name the folder or file of one: --source",
        )


def _complete(parts: list[Part], folder: Path) -> dict[str, Path]:
    """Fill in what files lack from NIH's own table, where it is; return its file by column."""
    taken = {}
    for path in [path for name in METADATA_FILES if (path := find_beside(folder, name))][:1]:
        raw = read_table(path)
        names = raw[need_column(raw, (IMAGE,), path, "Use NIH's own metadata table.")]
        refuse_repeated(names, path)
        for column, spellings in COLUMNS.items():
            theirs = choose_column(raw, spellings)
            for part in (part for part in parts if theirs and part.lacks(column)):
                values = dict(zip(names, raw[theirs], strict=True))
                part.table[column] = part.table[IMAGE].map(values).fillna("")
                taken[column] = path
    return taken


def _read_tables(parts: list[Part], path: Path, named: bool) -> tuple[Metadata, bool]:
    """Return what all files say, and whether they name patients; path: where labels are from."""
    for part in parts:
        if part.lacks(LABELS):
            raise UsageError(
                f"{part.path} has no labels: no column of names of findings, of class numbers with "
                "their names, or for each of the fourteen findings.",
                f"Put NIH's {METADATA_FILES[0]} beside it: its labels are taken.",
            )
        if named and part.lacks(PATIENT):
            part.table[PATIENT] = part.table[IMAGE].str[:8]
    has_patients, start = not any(part.lacks(PATIENT) for part in parts), 0
    for part in parts:
        part.table.attrs[BLANK_ROWS] = 0
        if not has_patients:
            part.table[PATIENT] = list(map(str, range(start, start + len(part.table))))
            start += len(part.table)
    whole = pd.concat([part.table for part in parts], ignore_index=True)
    whole.attrs[BLANK_ROWS] = 0
    try:
        return read_metadata(path, whole), has_patients
    except UsageError:
        for part in parts:  # the error is to name file and row
            read_metadata(part.path, part.table)
        raise


def _own_splits(splits: NDArray[np.str_]) -> Callable[[], OwnSplits] | None:
    """Return the split of the files themselves; None where they have no test split."""
    if not ((splits == "test").any() and (splits != "test").any()):
        return None
    tested = int((splits == "test").sum())
    note = "The split is that of the files; NIH's lists would be taken where they lie beside them."
    other = (
        f"The files' own split has {tested:,} test images, NIH's official one {OFFICIAL_TEST:,}: "
        "metrics are not comparable with those on NIH's."
    )
    differs = len(splits) == WHOLE_TABLE and tested != OFFICIAL_TEST
    unsplit = int((splits == "").sum())
    left = f"{count_of(unsplit, 'image')} of files that name no split left out."
    warnings = ((other, differs), (left, unsplit > 0))
    chosen = tuple(text for text, applies in warnings if applies)
    return partial(OwnSplits, splits, notes=(note,), warnings=chosen)
