"""The configuration of every command but `train`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from deepchest_cli.config.flags import (
    DEFAULT_DATA,
    DEFAULT_MODEL,
    NIH_SOURCE,
    Data,
    Device,
    Flag,
    Format,
    Model,
    Part,
    Seed,
)

Layout = Literal["auto", "nih", "chestmnist", "csv", "chexpert", "mimic-cxr", "padchest", "vindr"]


@dataclass(frozen=True)
class PrepareConfig:
    """What to convert, how, and where to."""

    source: Annotated[
        Path | None,
        Flag("Folder of the radiographs and their tables, or ChestMNIST's npz file. [data/nih]"),
    ] = None
    data: Annotated[
        Path | None, Flag("Folder for the shards. [data/shards, or data/demo-shards]")
    ] = None
    size: Annotated[
        str,
        Flag(
            "Stored height and width, 28 to 1024; 128,224 makes both in one pass.",
            metavar="PIXELS",
        ),
    ] = "224"
    pad: Annotated[bool, Flag("Keep the aspect, in black, instead of filling the square.")] = False
    split_scheme: Annotated[
        str | None,
        Flag(
            "official, random (by patient), chestmnist, or a CSV file of images and parts. "
            "[the source's own, else random]",
            metavar="NAME|FILE",
        ),
    ] = None
    validation_fraction: Annotated[
        float, Flag("Share of the training patients kept for validation.", minimum=0, maximum=0.9)
    ] = 0.1
    test_fraction: Annotated[
        float, Flag("Share of all patients for test, under random.", minimum=0, maximum=0.9)
    ] = 0.2
    views: Annotated[
        Literal["frontal", "all"], Flag("Which views to take, where the table names them.")
    ] = "frontal"
    layout: Annotated[Layout, Flag("What the source is.", panel="Other data than NIH's")] = "auto"
    labels_csv: Annotated[
        Path | None,
        Flag(
            "CSV file with a column of image paths and columns of labels.",
            panel="Other data than NIH's",
        ),
    ] = None
    path_column: Annotated[
        str | None,
        Flag("Column of the images' paths below --source.", panel="Other data than NIH's"),
    ] = None
    patient_column: Annotated[
        str | None, Flag("Column of the patients.", panel="Other data than NIH's")
    ] = None
    label_columns: Annotated[
        str | None,
        Flag(
            "Columns of labels, separated by commas. [all that hold 1, 0, -1 or blanks]",
            panel="Other data than NIH's",
        ),
    ] = None
    uncertain: Annotated[
        Literal["ignore", "zero", "one"],
        Flag(
            "How an uncertain label, -1, is read: unknown, absent or present.",
            panel="Other data than NIH's",
        ),
    ] = "ignore"
    blank: Annotated[
        Literal["ignore", "zero"] | None,
        Flag(
            "How a blank label is read. [ignore; zero for CheXpert and MIMIC-CXR]",
            panel="Other data than NIH's",
        ),
    ] = None
    readers: Annotated[
        int | None,
        Flag(
            "VinDr-CXR: how many of three readers must report a finding. [2]",
            minimum=1,
            maximum=3,
            panel="Other data than NIH's",
        ),
    ] = None
    check: Annotated[bool, Flag("Verify shards that are there against their manifest.")] = False
    dry_run: Annotated[
        bool, Flag("Say what would be done, in what time and space, and write nothing.")
    ] = False
    demo: Annotated[
        bool, Flag("Make synthetic radiographs in NIH's layout under data/demo and convert those.")
    ] = False
    images: Annotated[int | None, Flag("How many synthetic radiographs.", minimum=1)] = None
    long_tail: Annotated[
        bool, Flag("Make synthetic findings as uneven as NIH's: in 1 to 18 % of the images.")
    ] = False
    allow_missing: Annotated[
        bool, Flag("Publish even though images are missing or unreadable.")
    ] = False
    allow_duplicates: Annotated[
        bool, Flag("Publish even though images of two parts have the same pixels.")
    ] = False
    workers: Annotated[int | None, Flag("Decoding threads. [one per core]", minimum=1)] = None
    seed: Seed = 0
    force: Annotated[bool, Flag("Replace data prepared with other settings.")] = False


@dataclass(frozen=True)
class EvaluateConfig:
    """Which model is scored on what."""

    model: Model = DEFAULT_MODEL
    data: Data = DEFAULT_DATA
    split: Annotated[Part, Flag("Part of the data to score.")] = "test"
    format: Annotated[Format, Flag("What to write to standard output.")] = "table"
    out: Annotated[Path | None, Flag("Also write the results, as JSON, to this file.")] = None
    fail_under: Annotated[
        tuple[str, ...],
        Flag("Exit with 3 when a macro mean is lower; may be repeated.", metavar="METRIC=VALUE"),
    ] = ()
    batch_size: Annotated[int, Flag("Radiographs at a time.", minimum=1)] = 64
    device: Device = "auto"
    force: Annotated[bool, Flag("Replace the file named by --out.")] = False


@dataclass(frozen=True)
class PredictConfig:
    """Which radiographs are read by which model."""

    images: Annotated[
        tuple[str, ...], Flag("Image files or folders; - reads paths from stdin.", positional=True)
    ]
    model: Model = DEFAULT_MODEL
    format: Annotated[
        Literal["table", "json", "jsonl", "csv"], Flag("What to write to standard output.")
    ] = "table"
    batch_size: Annotated[int, Flag("Radiographs at a time.", minimum=1)] = 16
    device: Device = "auto"


@dataclass(frozen=True)
class DoctorConfig:
    """Where the doctor looks."""

    source: Annotated[Path, Flag("Folder with NIH's files.")] = NIH_SOURCE
    data: Data = DEFAULT_DATA
    model: Model = DEFAULT_MODEL


@dataclass(frozen=True)
class WeightersConfig:
    """The list of weighters has nothing to set."""
