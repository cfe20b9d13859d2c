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


@dataclass(frozen=True)
class PrepareConfig:
    """What to convert, how, and where to."""

    source: Annotated[
        Path | None, Flag("Folder as NIH ships it: metadata CSV, images, split lists. [data/nih]")
    ] = None
    data: Annotated[
        Path | None, Flag("Folder for the shards. [data/shards, or data/demo-shards]")
    ] = None
    size: Annotated[int, Flag("Stored height and width in pixels.", minimum=28, maximum=1024)] = 224
    split_scheme: Annotated[
        Literal["official", "random"], Flag("NIH's own lists, or random by patient.")
    ] = "official"
    validation_fraction: Annotated[
        float, Flag("Share of the training patients kept for validation.", minimum=0, maximum=0.9)
    ] = 0.1
    test_fraction: Annotated[
        float, Flag("Share of all patients for test, under random.", minimum=0, maximum=0.9)
    ] = 0.2
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
    workers: Annotated[int | None, Flag("Decoding processes. [one per core]", minimum=1)] = None
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
