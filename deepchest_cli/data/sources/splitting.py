"""Which part each image of a source goes to: the source's own split, a random one, or a file's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.cells import each_text, is_blank
from deepchest_cli.data.sources.base import OwnParts, Source
from deepchest_cli.data.sources.tables import (
    blank_rows,
    need_column,
    read_table,
    refuse_repeated,
    row_number,
)
from deepchest_cli.data.splits import listed_split, random_split
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import UsageError, unknown_name

SCHEMES = ("official", "random", "chestmnist")
NAME_COLUMNS = ("Image Index", "image_index", "Path", "path", "image", "image_id", "dicom_id")
SPLIT_COLUMNS = ("split", "Split", "part")
SPELLINGS = {
    "train": "train",
    "train_val": "train_val",
    "validation": "validation",
    "valid": "validation",
    "validate": "validation",
    "val": "validation",
    "test": "test",
    "": "",
}


@dataclass(frozen=True)
class Division:
    """The part of each row (N,), an empty text where it has none, and how that came about."""

    parts: NDArray[np.str_]
    scheme: str
    hashed: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def divide(source: Source, config: PrepareConfig) -> Division:
    """Divide a source by patient as the configuration says.

    Raises `UsageError` where the source has no such split or its patients are not known.
    """
    scheme = config.split_scheme or source.own_scheme
    labels = source.labels * source.known
    patients = source.table["patient_id"].to_numpy()
    if scheme == "random":
        notes = _random_notes(source)
        fractions = (config.validation_fraction, config.test_fraction)
        return Division(random_split(patients, labels, *fractions, config.seed), scheme, (), notes)
    if scheme in SCHEMES:
        own = _own_parts(source, scheme)
    else:
        own = _file_parts(source, Path(scheme))
        scheme = "file"
    parts = listed_split(own.parts, patients, labels, config.validation_fraction, config.seed)
    return Division(parts, scheme, own.hashed, own.warnings, own.notes)


def _random_notes(source: Source) -> tuple[str, ...]:
    if source.kind == "chestmnist":
        raise UsageError(
            "ChestMNIST does not say which images are of one patient: a random split would put "
            "patients into two parts.",
            "Leave --split-scheme out: it has a split of its own.",
        )
    if source.has_patients:
        return ()
    remedy = " --patient-column names a column that knows." if source.kind == "csv" else ""
    return (
        "The source does not name patients: each image counts as a patient of its own, and images "
        f"of one patient may come into two parts.{remedy}",
    )


def _own_parts(source: Source, scheme: str) -> OwnParts:
    if source.own_parts is None or source.own_scheme != scheme:
        own = "" if source.own_parts is None else f" Its own split is {source.own_scheme!r}."
        raise UsageError(
            f"{source.title} has no split {scheme!r}.{own}",
            "Leave --split-scheme out, split by patient with --split-scheme random, or name a CSV "
            "file with an image and its part in each row.",
        )
    return source.own_parts()


def _file_parts(source: Source, path: Path) -> OwnParts:
    """Read a CSV file with a column of images and one of parts."""
    if not path.is_file():
        unknown = unknown_name("split scheme", str(path), SCHEMES)
        raise UsageError(unknown.message, f"{unknown.hint} Or name a CSV file that exists.")
    raw = read_table(path)
    hint = "The file needs a column of images and a column `split`: train, validation or test."
    names = raw[need_column(raw, NAME_COLUMNS, path, hint)]
    texts = raw[need_column(raw, SPLIT_COLUMNS, path, hint)].str.lower()
    texts = texts.mask(each_text(texts, is_blank), "")
    refuse_repeated(names, path)
    wrong = np.flatnonzero(~texts.isin(SPELLINGS).to_numpy())
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(texts, wrong[0])}: {texts.iloc[wrong[0]]!r} is no part.",
            f"Parts are {', '.join(filter(None, SPELLINGS))}, or nothing.",
        )
    part_of = dict(zip(names, texts.map(SPELLINGS), strict=True))
    table = source.table
    listed = table["image_index"].map(part_of).fillna(table["path"].map(part_of)).fillna("")
    warnings, notes = [], [*blank_rows(raw, path)]
    if (listed == "").any():
        left = table["image_index"][(listed == "").to_numpy()]
        without = f", without a part in {path},"
        number = count_of(len(left), f"image{without} is", f"images{without} are")
        warnings.append(f"{number} left out: {few(left)}.")
    rowless = len(set(names) - set(table["image_index"]) - set(table["path"]))
    if rowless:
        number = count_of(rowless, f"name in {path} is", f"names in {path} are")
        notes.append(f"{number} no image of the source.")
    return OwnParts(listed.to_numpy(dtype="<U10"), (path,), tuple(notes), tuple(warnings))
