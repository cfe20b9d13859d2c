"""Which kind of source a folder or file is, and its reader."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.demo import is_demo
from deepchest_cli.data.images import Images, find_images
from deepchest_cli.data.matching import Matcher
from deepchest_cli.data.sources.base import FRONTAL, Source, keep_rows
from deepchest_cli.data.sources.chestmnist import find_npz, read_chestmnist
from deepchest_cli.data.sources.labels_csv import (
    CsvTable,
    generic_table,
    read_labels,
    unused_columns,
)
from deepchest_cli.data.sources.mapping import under_label_map
from deepchest_cli.data.sources.nih import read_nih
from deepchest_cli.data.sources.nih_parquet import find_parquet, holds_images, read_nih_parquet
from deepchest_cli.data.sources.openi import find_openi, openi
from deepchest_cli.data.sources.presets import (
    chexpert,
    find_mimic,
    find_padchest,
    mimic_cxr,
    padchest,
)
from deepchest_cli.data.sources.rsna import find_rsna, rsna
from deepchest_cli.data.sources.siim import find_siim, siim
from deepchest_cli.data.sources.vindr import find_vindr, vindr
from deepchest_cli.data.tabular.columns import ROLES, choose_column
from deepchest_cli.data.tabular.labels import not_taken
from deepchest_cli.data.tabular.tables import header_of, read_table
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError

# their own labels are findings, and none is in doubt
LABELS_ARE_FINDINGS = frozenset(("nih", "nih-parquet", "chestmnist", "vindr", "rsna", "siim"))
CHEXPERT_MARK = "Frontal/Lateral"  # a column of its train.csv


@dataclass(frozen=True)
class Kind:
    """How a data set is known by its files, and read."""

    is_in: Callable[[Path], bool]  # whether a folder or file is one
    read: Callable[[Path, PrepareConfig], Source]


def _table(find: Callable[[Path], object], table: Callable[[Path], CsvTable]) -> Kind:
    """Return the kind of a data set that is read like a table of one's own."""
    return Kind(_is_there(find), lambda folder, config: read_labels(table(folder), config))


def _is_there(find: Callable[[Path], object]) -> Callable[[Path], bool]:
    return lambda folder: bool(find(folder))


def _is_chexpert(folder: Path) -> bool:
    return CHEXPERT_MARK in header_of(folder / "train.csv")


def recognize(source: Path, config: PrepareConfig) -> tuple[str, Path]:
    """Return the kind of a source, by --layout or by its files, and the folder that has them."""
    if config.layout != "auto":
        return config.layout, source
    if config.labels_csv is not None:
        return "csv", source
    below = sorted(path for path in source.glob("*") if path.is_dir()) if source.is_dir() else []
    for folder in (source, *below):  # archives unpack into a folder of their own
        for kind, its in KINDS.items():
            if its.is_in(folder):
                return kind, folder
    return "nih-parquet" if holds_images(find_parquet(source)) else "nih", source


def read_source(source: Path, config: PrepareConfig) -> Source:
    """Read the tables of a source; `UsageError` says what is wrong with them."""
    kind, source = recognize(source, config)
    _refuse_needless(kind, config)
    if kind != "nih" and not source.exists():
        hint = "Name the folder of the images: --source"
        raise UsageError(f"There is no file or folder {source}.", hint)
    read = KINDS[kind].read(source, config)
    if kind in LABELS_ARE_FINDINGS:
        read = under_label_map(read, config)
    rows = np.arange(len(read.table))
    table = read.table.assign(source_row=rows)
    read = replace(read, all_paths=tuple(table["path"]), table=table)
    if config.views == "all":
        return read
    frontal = read.table["view"].isin(FRONTAL).to_numpy()
    counted = read.table["view"][~frontal].value_counts(sort=True)
    named = few(f"{number:,} × {view}" for view, number in counted.items())
    one, many = "image that is not frontal is", "images that are not frontal are"
    others = count_of(int((~frontal).sum()), one, many)
    note = f"{others} left out ({named}); --views all takes them."
    return keep_rows(read, frontal, note)


def _read_chestmnist(source: Path) -> Source:
    path = find_npz(source)
    if path is None:
        raise UsageError(f"{source} holds no chestmnist*.npz.", "Name the file: --source")
    return read_chestmnist(path)


def _read_csv(source: Path, config: PrepareConfig) -> Source:
    if config.labels_csv is None:
        raise UsageError("--layout csv needs a table.", "Name it: --labels-csv FILE")
    if not config.labels_csv.is_file():
        raise UsageError(f"There is no table {config.labels_csv}.", "Check --labels-csv.")
    raw = read_table(config.labels_csv)
    table = generic_table(raw, config.labels_csv, config, source)
    read = read_labels(table, config)
    read = replace(read, synthetic=is_demo(source) or is_demo(source.parent))
    if config.label_columns:
        return read
    found = f"Findings, by the columns with 1, 0, -1 or blank: {', '.join(read.findings)}."
    unused = not_taken(table.raw, unused_columns(table))
    column = choose_column(raw, ROLES["split"]) if config.split_scheme is None else None
    split = f"Column {column!r} is not used; --split-scheme {config.labels_csv} takes it."
    return replace(read, notes=(*read.notes, found, *unused, *(split,) * bool(column)))


# in the order in which they are tried; what is none of them is NIH, as files or in Parquet, and csv
# has to be named
KINDS = {
    "chestmnist": Kind(_is_there(find_npz), lambda source, _: _read_chestmnist(source)),
    "mimic-cxr": _table(lambda folder: find_mimic(folder, "chexpert"), mimic_cxr),
    "padchest": _table(find_padchest, padchest),
    "vindr": Kind(find_vindr, vindr),
    "rsna": Kind(_is_there(find_rsna), lambda folder, _: rsna(folder)),
    "siim": Kind(_is_there(find_siim), lambda folder, _: siim(folder)),
    "openi": _table(find_openi, openi),
    "chexpert": _table(_is_chexpert, chexpert),
    "csv": Kind(lambda _: False, _read_csv),
    "nih-parquet": Kind(
        lambda _: False,
        lambda source, config: read_nih_parquet(source, config.allow_missing),
    ),
    "nih": Kind(lambda _: False, lambda folder, _: read_nih(folder)),
}


def _refuse_needless(kind: str, config: PrepareConfig) -> None:
    """A flag that would do nothing was meant to do something."""
    if config.labels_csv is not None and kind != "csv":
        raise UsageError(f"--labels-csv has no meaning for --layout {kind}.", "Leave one out.")
    if config.readers is not None and kind != "vindr":
        raise UsageError("--readers is about VinDr-CXR.", "Leave it out.")
    given = {
        "--path-column": config.path_column,
        "--patient-column": config.patient_column,
        "--study-column": config.study_column,
        "--label-columns": config.label_columns,
    }
    for flag, value in given.items():
        if value and kind != "csv":
            raise UsageError(f"{flag} is about a table of your own.", "Add --labels-csv FILE.")
    if kind in LABELS_ARE_FINDINGS and (config.blank or config.uncertain != "ignore"):
        raise UsageError(
            f"--uncertain and --blank have no meaning for {kind}: all labels are known."
        )


def find_source_images(source: Source) -> Images:
    """Return where the images of a source lie."""
    paths = list(source.all_paths)
    if source.streams:
        return Images(source.images, Matcher(paths), streams=list(source.streams))
    return find_images(source.images, paths)
