"""Which kind of source a folder or file is, and its reader."""

from dataclasses import replace
from pathlib import Path

import numpy as np

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.demo import is_demo
from deepchest_cli.data.images import Images, find_images
from deepchest_cli.data.matching import Matcher
from deepchest_cli.data.sources.base import FRONTAL, Source, keep_rows
from deepchest_cli.data.sources.chestmnist import find_npz, read_chestmnist
from deepchest_cli.data.sources.labels_csv import generic_table, read_labels, unused_columns
from deepchest_cli.data.sources.nih import read_nih
from deepchest_cli.data.sources.nih_parquet import find_parquet, holds_images, read_nih_parquet
from deepchest_cli.data.sources.presets import (
    chexpert,
    find_mimic,
    find_padchest,
    mimic_cxr,
    padchest,
)
from deepchest_cli.data.sources.vindr import vindr
from deepchest_cli.data.tabular.columns import ROLES, choose_column
from deepchest_cli.data.tabular.labels import not_taken
from deepchest_cli.data.tabular.tables import read_table
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError

VINDR_MARK, CHEXPERT_MARK = "rad_id", "Frontal/Lateral"  # columns of their train.csv


def recognize(source: Path, config: PrepareConfig) -> tuple[str, Path]:
    """Return the kind of a source, by --layout or by its files, and the folder that has them."""
    if config.layout != "auto":
        return config.layout, source
    if config.labels_csv is not None:
        return "csv", source
    below = sorted(path for path in source.glob("*") if path.is_dir()) if source.is_dir() else []
    for folder in (source, *below):  # archives unpack into a folder of their own
        kind = _kind_of(folder)
        if kind is not None:
            return kind, folder
    return "nih-parquet" if holds_images(find_parquet(source)) else "nih", source


def _kind_of(folder: Path) -> str | None:
    train, header = folder / "train.csv", ""
    if train.is_file():
        with train.open(encoding="utf-8", errors="replace") as file:
            header = file.readline()
    signs = {
        "chestmnist": find_npz(folder) is not None,
        "mimic-cxr": find_mimic(folder, "chexpert") is not None,
        "padchest": find_padchest(folder) is not None,
        "vindr": VINDR_MARK in header,
        "chexpert": CHEXPERT_MARK in header,
    }
    return next((kind for kind, there in signs.items() if there), None)


def read_source(source: Path, config: PrepareConfig) -> Source:
    """Read the tables of a source; `UsageError` says what is wrong with them."""
    kind, source = recognize(source, config)
    _refuse_needless(kind, config)
    if kind != "nih" and not source.exists():
        hint = "Name the folder of the images: --source"
        raise UsageError(f"There is no file or folder {source}.", hint)
    read = _read(kind, source, config)
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


def _read(kind: str, source: Path, config: PrepareConfig) -> Source:
    if kind == "nih":
        return read_nih(source)
    if kind == "nih-parquet":
        return read_nih_parquet(source, config.allow_missing)
    if kind == "chestmnist":
        path = find_npz(source)
        if path is None:
            raise UsageError(f"{source} holds no chestmnist*.npz.", "Name the file: --source")
        return read_chestmnist(path)
    if kind == "vindr":
        return vindr(source, config)
    if kind == "csv":
        return _read_csv(source, config)
    presets = {"chexpert": chexpert, "mimic-cxr": mimic_cxr, "padchest": padchest}
    return read_labels(presets[kind](source), config)


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


def _refuse_needless(kind: str, config: PrepareConfig) -> None:
    """A flag that would do nothing was meant to do something."""
    if config.labels_csv is not None and kind != "csv":
        raise UsageError(f"--labels-csv has no meaning for --layout {kind}.", "Leave one out.")
    if config.readers is not None and kind != "vindr":
        raise UsageError("--readers is about VinDr-CXR.", "Leave it out.")
    given = {
        "--path-column": config.path_column,
        "--patient-column": config.patient_column,
        "--label-columns": config.label_columns,
    }
    for flag, value in given.items():
        if value and kind != "csv":
            raise UsageError(f"{flag} is about a table of your own.", "Add --labels-csv FILE.")
    if kind in ("nih", "nih-parquet", "chestmnist", "vindr") and (
        config.blank or config.uncertain != "ignore"
    ):
        raise UsageError(
            f"--uncertain and --blank have no meaning for {kind}: all labels are known."
        )


def find_source_images(source: Source) -> Images:
    """Return where the images of a source lie."""
    paths = list(source.all_paths)
    if source.streams:
        return Images(source.images, Matcher(paths), streams=list(source.streams))
    return find_images(source.images, paths)
