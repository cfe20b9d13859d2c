"""The configurations of the commands that have no file of their own."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from deepchest_cli.config.flags import (
    DEFAULT_DATA,
    DEFAULT_MODEL,
    NIH_SOURCE,
    Device,
    Flag,
    Model,
    OwnBackbones,
    Seed,
    ViewWeights,
)

Layout = Literal[
    "auto", "nih", "nih-parquet", "chestmnist", "csv", "chexpert", "mimic-cxr", "padchest", "vindr",
    "rsna", "siim", "openi",
]  # fmt: skip


@dataclass(frozen=True)
class PrepareConfig:
    """What to convert, how, and where to."""

    FIRST: ClassVar = (
        "source",
        "data",
        "size",
        "split_scheme",
        "demo",
        "dry_run",
        "workers",
        "force",
    )

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
            "Stored height and width, 28 to 1024; 128,224 makes both in one pass.", metavar="PIXELS"
        ),
    ] = "224"
    pad: Annotated[
        bool, Flag("Keep the aspect ratio, padded with black, instead of squashing.")
    ] = False
    split_scheme: Annotated[
        str | None,
        Flag(
            "official, random (by patient), chestmnist, or a CSV file of images and splits. "
            "[the source's own, else random]",
            metavar="NAME|FILE",
        ),
    ] = None
    validation_fraction: Annotated[
        float, Flag("Share of the training patients kept for validation.", minimum=0, maximum=0.9)
    ] = 0.1
    test_fraction: Annotated[
        float, Flag("Share of all patients for test, with a random split.", minimum=0, maximum=0.9)
    ] = 0.2
    views: Annotated[
        Literal["frontal", "all"], Flag("Which views to take, where the table names them.")
    ] = "frontal"
    layout: Annotated[Layout, Flag("Data set of the source.", panel="Other data than NIH's")] = (
        "auto"
    )
    labels_csv: Annotated[
        Path | None, Flag("CSV file with a column of image paths and columns of labels.")
    ] = None
    path_column: Annotated[str | None, Flag("Column of the images' paths below --source.")] = None
    patient_column: Annotated[str | None, Flag("Column of the patients.")] = None
    study_column: Annotated[
        str | None, Flag("Column of the studies (examinations) that the images are from.")
    ] = None
    label_columns: Annotated[
        str | None,
        Flag("Columns of labels, separated by commas. [all that hold 1, 0, -1 or blanks]"),
    ] = None
    label_map: Annotated[
        Path | None,
        Flag("TOML file that says which findings the source's labels stand for. [the source's]"),
    ] = None
    findings: Annotated[
        str | None,
        Flag(
            "Findings to take, separated by commas; also labels or terms of the source. [the "
            "label map's, else all]",
            metavar="NAMES",
        ),
    ] = None
    uncertain: Annotated[
        str,
        Flag(
            "How an uncertain label, -1, is read: ignore, zero, one (unknown, absent, present), "
            "also by finding: Edema=one,zero; or chexpert-paper.",
            metavar="POLICY",
        ),
    ] = "ignore"
    blank: Annotated[
        Literal["ignore", "zero"] | None,
        Flag("How a blank label is read. [ignore; zero for CheXpert and MIMIC-CXR]"),
    ] = None
    readers: Annotated[
        int | None,
        Flag(
            "VinDr-CXR: how many of three readers must report a finding. [2]", minimum=1, maximum=3
        ),
    ] = None
    check: Annotated[
        bool, Flag("Verify shards that are there against their manifest.", panel="")
    ] = False
    dry_run: Annotated[
        bool, Flag("Say what would be done, in what time and space, and write nothing.")
    ] = False
    demo: Annotated[
        bool, Flag("Make synthetic radiographs in NIH's layout under data/demo and convert those.")
    ] = False
    sites: Annotated[
        int,
        Flag(
            "Synthetic hospitals: 2 also makes one with another machine, patients and names of "
            "findings, under data/demo-site-2.",
            minimum=1,
            maximum=2,
        ),
    ] = 1
    images: Annotated[
        int | None, Flag("How many synthetic radiographs of a site. [2000]", minimum=1)
    ] = None
    long_tail: Annotated[
        bool, Flag("Make synthetic findings as uneven as NIH's: in 1 to 18 % of the images.")
    ] = False
    allow_missing: Annotated[
        bool, Flag("Convert the others where images are missing or unreadable.")
    ] = False
    allow_duplicates: Annotated[bool, Flag("Accept images with the same pixels in two splits.")] = (
        False
    )
    workers: Annotated[int | None, Flag("Decoding threads. [one per core]", minimum=1)] = None
    seed: Seed = 0
    force: Annotated[bool, Flag("Replace data prepared with other settings.")] = False
    plan: Annotated[
        bool,
        Flag(
            "Divide the work into numbered jobs; convert nothing yet. Archives are read once.",
            panel="Several machines",
        ),
    ] = False
    jobs: Annotated[
        int | None, Flag("How many jobs to plan. [one for 8,192 images]", minimum=1)
    ] = None
    job: Annotated[
        int | None,
        Flag(
            "Convert the images of one planned job; without it, the same command does what is "
            "missing and publishes.",
            metavar="NUMBER",
        ),
    ] = None
    dask: Annotated[
        str | None,
        Flag(
            "Dask scheduler whose workers complete the jobs, such as tcp://HOST:8786; local:4 "
            "starts four processes here.",
            metavar="ADDRESS",
        ),
    ] = None


@dataclass(frozen=True)
class PredictConfig:
    """Which radiographs are read by which model."""

    images: Annotated[
        tuple[str, ...],
        Flag(
            "Images (PNG, JPEG, TIFF, WebP, DICOM), folders or patterns; - reads paths from stdin.",
            positional=True,
        ),
    ]
    model: Annotated[
        tuple[str, ...],
        Flag(
            "Run folder, checkpoint, ONNX file or xrv/NAME; several are averaged. [runs/latest]",
            metavar="PATH",
        ),
    ] = ()
    backbone: OwnBackbones = ()
    format: Annotated[
        Literal["table", "json", "jsonl", "csv"], Flag("What to write to standard output.")
    ] = "table"
    top: Annotated[int | None, Flag("Name the most probable findings of each.", minimum=1)] = None
    threshold: Annotated[
        str,
        Flag(
            "Operating point: a probability, or youden, sensitivity_90, "
            "sensitivity_90_confidence_95, specificity_90, best_f1.",
            metavar="RULE|NUMBER",
        ),
    ] = "youden"
    source: Annotated[
        str | None,
        Flag(
            "Data set of training whose operating points and calibration are used, by its folder's "
            "name. [those of all together]",
            metavar="NAME",
        ),
    ] = None
    tta: Annotated[bool, Flag("Average over five views: the whole and four corners.")] = False
    heatmap: Annotated[
        Path | None,
        Flag(
            "Folder for pictures of where the model looks, of flagged findings.", panel="Heat maps"
        ),
    ] = None
    finding: Annotated[
        tuple[str, ...], Flag("Draw this finding and not the flagged ones; may be repeated.")
    ] = ()
    unit: Annotated[
        Literal["image", "study"],
        Flag(
            "What is answered: each image, or each study by the mean over its images.",
            panel="Studies",
        ),
    ] = "image"
    view_weight: ViewWeights = ()
    embeddings: Annotated[
        Path | None,
        Flag(
            "Write the images' features to this .npz or .parquet file.",
            metavar="FILE",
            panel="Files",
        ),
    ] = None
    force: Annotated[bool, Flag("Replace pictures and embeddings that are there already.")] = False
    null: Annotated[
        bool, Flag("Paths on stdin end in NUL, not in a line break (find -print0).", panel="Method")
    ] = False
    batch_size: Annotated[
        int | None, Flag("Radiographs at a time. [4, on a GPU 32]", minimum=1)
    ] = None
    workers: Annotated[int | None, Flag("Decoding threads. [one per core]", minimum=1)] = None
    device: Annotated[
        str, Flag("auto, cpu, cuda, cuda:N or mps; only auto falls back to the CPU.")
    ] = "auto"


@dataclass(frozen=True)
class RecalibrateConfig:
    """Whose images choose the operating points and the calibration of which model."""

    model: Annotated[Path, Flag("Run folder, checkpoint, ONNX file or xrv/NAME.")] = DEFAULT_MODEL
    backbone: OwnBackbones = ()
    out: Annotated[
        Path | None, Flag("The model's copy: a folder that --model accepts, or FILE.pt, FILE.onnx.")
    ] = None
    site: Annotated[
        str | None, Flag("Name of the site. [that of the data's folder or the labels' file]")
    ] = None
    data: Annotated[
        Path | None, Flag("Folder of the site's prepared shards.", panel="The site's images")
    ] = None
    predictions: Annotated[
        Path | None, Flag("The model's predictions for the site's images, instead of shards.")
    ] = None
    labels: Annotated[Path | None, Flag("Their labels: a column a finding, or NIH's table.")] = None
    logits: Annotated[bool, Flag("The predictions are logits, not probabilities.")] = False
    probabilities: Annotated[
        Literal["auto", "raw", "calibrated"],
        Flag(
            "Whether the predictions have the model's calibration, which is undone then; auto: "
            "those that deepchest predict wrote have it."
        ),
    ] = "auto"
    split: Annotated[
        Literal["validation", "train", "train+validation", "all"],
        Flag("The site's images that choose; its test split shows before and after."),
    ] = "validation"
    allow_overlap: Annotated[
        bool, Flag("Also use images and patients that the model was trained on; it is said.")
    ] = False
    calibration: Annotated[
        Literal["platt", "temperature"], Flag("Calibration that is fitted.", panel="Method")
    ] = "platt"
    bootstrap_replicates: Annotated[
        int, Flag("Bootstrap replicates of the patients; 0: no intervals.", minimum=0)
    ] = 1000
    seed: Annotated[int, Flag("Seed of the resampling.", minimum=0, maximum=2**32 - 1)] = 0
    batch_size: Annotated[int, Flag("Radiographs at a time.", minimum=1)] = 64
    device: Device = "auto"
    force: Annotated[bool, Flag("Replace a copy that is there already.", panel="")] = False


@dataclass(frozen=True)
class ExportConfig:
    """Which model becomes which file for other programs."""

    model: Model = DEFAULT_MODEL
    backbone: OwnBackbones = ()
    format: Annotated[
        Literal["onnx", "torch"],
        Flag("onnx, or torch (a torch.export program; loads with torch alone)."),
    ] = "onnx"
    out: Annotated[
        Path | None, Flag("File to write. [model.onnx or model.pt2 beside the checkpoint]")
    ] = None
    force: Annotated[bool, Flag("Replace a file that is there.")] = False


@dataclass(frozen=True)
class RunsConfig:
    """Where runs and comparisons are looked for, and in which order they are listed."""

    folders: Annotated[
        tuple[str, ...],
        Flag(
            "Folders to look in and below, or runs and comparisons themselves; without any, the "
            "folders runs and comparisons.",
            metavar="FOLDER",
            positional=True,
        ),
    ] = ()
    sort: Annotated[
        Literal["newest", "auroc", "size"], Flag("What is listed first: the newest, best, largest.")
    ] = "newest"


@dataclass(frozen=True)
class DoctorConfig:
    """Where the doctor looks."""

    source: Annotated[Path, Flag("Folder with NIH's files.")] = NIH_SOURCE
    data: Annotated[Path, Flag("Folder of prepared shards.")] = DEFAULT_DATA
    model: Model = DEFAULT_MODEL


@dataclass(frozen=True)
class WeightersConfig:
    """Whether all weighters are listed, some are described, or one is checked."""

    names: Annotated[
        tuple[str, ...],
        Flag(
            "Weighters to describe: formula, options, cost, paper; also deepchest+NAME, and "
            "FILE.py:CLASS for one of your own. [all, in a table]",
            metavar="NAME",
            positional=True,
        ),
    ] = ()
    check: Annotated[
        str | None,
        Flag(
            "Check that a weighter keeps the contract that training relies on, with options as "
            "NAME[key=value,...].",
            metavar="WEIGHTER",
        ),
    ] = None
