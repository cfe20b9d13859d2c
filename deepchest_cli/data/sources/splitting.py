"""Which split each image of a source goes to: the source's own split, a random one, or a file's."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.config import PrepareConfig
from deepchest_cli.data.sources.base import OwnSplits, Source
from deepchest_cli.data.splits import SPLITS, divided_groups, listed_split, random_split
from deepchest_cli.data.tabular.cells import read_splits
from deepchest_cli.data.tabular.columns import ROLES, need_column, refuse_repeated
from deepchest_cli.data.tabular.tables import blank_rows, read_table, row_number
from deepchest_cli.data.text import count_of, few
from deepchest_cli.errors import DeepChestError, UsageError, unknown_name

SCHEMES = ("official", "random", "chestmnist")


@dataclass(frozen=True)
class SplitAssignment:
    """The split of each row (N,), an empty text where it has none, and how that came about."""

    splits: NDArray[np.str_]
    scheme: str
    hashed: tuple[Path, ...] = ()
    warnings: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def assign_splits(source: Source, config: PrepareConfig) -> SplitAssignment:
    """Divide a source by patient as the configuration says.

    Raises `UsageError` where the source has no such split or its patients are not known.
    """
    scheme = config.split_scheme or source.own_scheme
    labels = source.labels * source.known
    patients = source.table["patient_id"].to_numpy()
    if scheme == "random":
        notes = _random_notes(source)
        fractions = (config.validation_fraction, config.test_fraction)
        splits = random_split(patients, labels, *fractions, config.seed)
        return SplitAssignment(splits, scheme, warnings=notes)
    if scheme in SCHEMES:
        own = _own_splits(source, scheme)
    else:
        own = _file_splits(source, Path(scheme))
        scheme = "file"
    if source.has_studies:
        _refuse_divided_studies(source, own)
    splits = listed_split(own.splits, patients, labels, config.validation_fraction, config.seed)
    return SplitAssignment(splits, scheme, own.hashed, own.warnings, own.notes)


def _random_notes(source: Source) -> tuple[str, ...]:
    if source.kind == "chestmnist":
        raise UsageError(
            "ChestMNIST does not say which images are of one patient: a random split would put "
            "patients into two splits.",
            "Leave --split-scheme out: it has a split of its own.",
        )
    if source.has_patients:
        return ()
    remedy = " --patient-column names a column that knows." if source.kind == "csv" else ""
    each = "study" if source.has_studies else "image"
    return (
        f"The source does not name patients: each {each} counts as a patient of its own, and "
        f"images of one patient may come into two splits.{remedy}",
    )


def _own_splits(source: Source, scheme: str) -> OwnSplits:
    if source.own_splits is None or source.own_scheme != scheme:
        own = "" if source.own_splits is None else f" Its own split is {source.own_scheme!r}."
        raise UsageError(
            f"{source.title} has no split {scheme!r}.{own}",
            "Leave --split-scheme out, split by patient with --split-scheme random, or name a CSV "
            "file with an image and its split in each row.",
        )
    return source.own_splits()


def _refuse_divided_studies(source: Source, own: OwnSplits) -> None:
    """Raise `DeepChestError` where a study has images in two splits, with two of them."""
    splits = np.where(own.splits == "train_val", "train", own.splits)
    there = np.flatnonzero(splits != "")
    studies, names = (source.table[key].to_numpy(dtype=str) for key in ("study", "image_index"))
    apart = divided_groups(studies[there], splits[there])
    if apart:
        one, other = there[list(apart[0])].tolist()
        place = str(own.hashed[0]) if own.hashed else source.title
        raise DeepChestError(
            f"{place}: {count_of(len(apart), 'study has', 'studies have')} images in two splits; "
            f"the first, {str(studies[one])!r}: {names[one]} in {splits[one]}, {names[other]} in "
            f"{splits[other]}.",
            "Give all images of a study one split, or split by patient at random: "
            "--split-scheme random",
        )


def _file_splits(source: Source, path: Path) -> OwnSplits:
    if not path.is_file():
        unknown = unknown_name("split scheme", str(path), SCHEMES)
        raise UsageError(unknown.message, f"{unknown.hint} Or name a CSV file that exists.")
    raw = read_table(path)
    hint = "The file needs a column of images and a column `split`: train, validation or test."
    names = raw[need_column(raw, ROLES["image"], path, hint)]
    given = raw[need_column(raw, ROLES["split"], path, hint)]
    splits = read_splits(given)
    refuse_repeated(names, path)
    wrong = np.flatnonzero(~splits.isin((*SPLITS, "train_val", "")))
    if len(wrong):
        raise UsageError(
            f"{path}, row {row_number(given, wrong[0])}: {given.iloc[wrong[0]]!r} is no split.",
            f"Splits are {', '.join(SPLITS)}, train_val, or nothing.",
        )
    split_of = dict(zip(names, splits, strict=True))
    table = source.table
    listed = table["image_index"].map(split_of).fillna(table["path"].map(split_of)).fillna("")
    warnings, notes = [], [*blank_rows(raw, path)]
    if (listed == "").any():
        left = table["image_index"][(listed == "").to_numpy()]
        without = f", without a split in {path},"
        number = count_of(len(left), f"image{without} is", f"images{without} are")
        warnings.append(f"{number} left out: {few(left)}.")
    rowless = len(set(names) - set(table["image_index"]) - set(table["path"]))
    if rowless:
        number = count_of(rowless, f"name in {path} is", f"names in {path} are")
        notes.append(f"{number} no image of the source.")
    return OwnSplits(listed.to_numpy(dtype="<U10"), (path,), tuple(notes), tuple(warnings))
