"""Which kind of source a folder or file is, and its reader."""

from dataclasses import replace
from pathlib import Path

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.finding_images import find_images
from deepchest_cli.data.images import Images, choose_keys
from deepchest_cli.data.sources.base import FRONTAL, Source, keep_rows
from deepchest_cli.data.sources.chestmnist import ArrayStream, find_npz, read_chestmnist
from deepchest_cli.data.sources.labels_csv import generic_table, read_labels
from deepchest_cli.data.sources.nih import read_nih
from deepchest_cli.data.sources.presets import (
    chexpert,
    find_mimic,
    find_padchest,
    mimic_cxr,
    padchest,
)
from deepchest_cli.data.sources.tables import read_table
from deepchest_cli.data.sources.vindr import vindr
from deepchest_cli.errors import UsageError

VINDR_MARK, CHEXPERT_MARK = "rad_id", "Frontal/Lateral"  # columns of their train.csv


def recognise(source: Path, config: PrepareConfig) -> str:
    """Return the kind of a source: what --layout names, or what its files look like."""
    if config.layout != "auto":
        return config.layout
    header = _first_line(source / "train.csv")
    signs = {
        "csv": config.labels_csv is not None,
        "chestmnist": find_npz(source) is not None,
        "mimic-cxr": find_mimic(source, "chexpert") is not None,
        "padchest": find_padchest(source) is not None,
        "vindr": VINDR_MARK in header,
        "chexpert": CHEXPERT_MARK in header,
    }
    return next((kind for kind, there in signs.items() if there), "nih")


def _first_line(path: Path) -> str:
    if not path.is_file():
        return ""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.readline()


def read_source(source: Path, config: PrepareConfig) -> Source:
    """Read the tables of a source; `UsageError` says what is wrong with them."""
    kind = recognise(source, config)
    _refuse_needless(kind, config)
    if kind != "nih" and not source.exists():
        raise UsageError(
            f"There is no file or folder {source}.", "Name the folder of the images: --source"
        )
    read = _read(kind, source, config)
    if config.views == "all":
        return read
    frontal = read.table["view"].isin(FRONTAL).to_numpy()
    others = int((~frontal).sum())
    note = f"{others} images that are not frontal are left out; --views all takes them."
    return keep_rows(read, frontal, note)


def _read(kind: str, source: Path, config: PrepareConfig) -> Source:
    if kind == "nih":
        return read_nih(source)
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
    read = read_labels(generic_table(raw, config.labels_csv, config, source), config)
    if config.label_columns:
        return read
    found = f"Findings, by the columns with 1, 0, -1 or blank: {', '.join(read.findings)}."
    return replace(read, notes=(*read.notes, found))


def _refuse_needless(kind: str, config: PrepareConfig) -> None:
    """A flag that would do nothing was meant to do something."""
    given = {
        "--path-column": config.path_column,
        "--patient-column": config.patient_column,
        "--label-columns": config.label_columns,
    }
    for flag, value in given.items():
        if value and kind != "csv":
            raise UsageError(f"{flag} is about a table of your own.", "Add --labels-csv FILE.")
    if kind in ("nih", "chestmnist", "vindr") and (config.blank or config.uncertain != "ignore"):
        raise UsageError(
            f"--uncertain and --blank have no meaning for {kind}: all labels are known."
        )


def find_source_images(source: Source) -> Images:
    """Return where the images of a source lie."""
    keys = choose_keys(list(source.table["path"]))
    if source.kind == "chestmnist":
        return Images(keys, streams=[ArrayStream(source.images)])
    return find_images(source.images, keys)
