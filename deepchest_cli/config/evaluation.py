"""The configuration of `deepchest evaluate`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Literal

from deepchest_cli.config.flags import Flag, Format, OwnBackbones, Split, ViewWeights


@dataclass(frozen=True)
class EvaluateConfig:
    """Which model is scored on what."""

    FIRST: ClassVar = ("model", "data", "split", "report", "format")

    model: Annotated[
        tuple[str, ...],
        Flag(
            "Run folder, checkpoint or xrv/NAME; several are averaged. [runs/latest]",
            metavar="PATH",
            panel="What is scored",
        ),
    ] = ()
    backbone: OwnBackbones = ()
    data: Annotated[
        tuple[str, ...],
        Flag(
            "Folder of prepared shards; several are compared with the first. [data/shards]",
            metavar="FOLDER",
        ),
    ] = ()
    split: Annotated[
        Split, Flag("Split to score; all: every image, but of the model's own data its test split.")
    ] = "test"
    unit: Annotated[
        Literal["image", "study", "patient"],
        Flag("What is scored: images, or the means over those of a study or patient."),
    ] = "image"
    view_weight: ViewWeights = ()
    allow_overlap: Annotated[
        bool,
        Flag("Also score images and patients that the model was trained on; the results say so."),
    ] = False
    predictions: Annotated[
        Path | None,
        Flag(
            "Any model's predictions: an image column, a column per finding.",
            panel="Scores from files",
        ),
    ] = None
    labels: Annotated[
        Path | None, Flag("Their labels: NIH's metadata, a column a finding, or chestmnist.npz.")
    ] = None
    validation: Annotated[
        Path | None, Flag("Predictions on validation, for thresholds and calibration.")
    ] = None
    logits: Annotated[bool, Flag("The files hold logits, not probabilities.")] = False
    compare_to: Annotated[
        Path | None,
        Flag(
            "Run, checkpoint, xrv/NAME or predictions to compare with, on the same images.",
            panel="What it is compared with",
        ),
    ] = None
    reference: Annotated[
        tuple[str, ...], Flag("Published result to list; may be repeated. [all of the same split]")
    ] = ()
    expert_labels: Annotated[
        Path | None, Flag("Google's radiologist labels, scored beside the data's own.")
    ] = None
    calibration: Annotated[
        Literal["platt", "temperature"],
        Flag("Calibration that is fitted on validation.", panel="Method"),
    ] = "platt"
    store: Annotated[
        bool, Flag("Store thresholds and calibration in the checkpoint, if it has none.")
    ] = True
    localization: Annotated[bool, Flag("Score class activation maps against NIH's boxes.")] = True
    bootstrap_replicates: Annotated[
        int, Flag("Bootstrap replicates of the patients; 0: no intervals.", minimum=0)
    ] = 1000
    seed: Annotated[int, Flag("Seed of the resampling.", minimum=0, maximum=2**32 - 1)] = 0
    batch_size: Annotated[int, Flag("Radiographs at a time.", minimum=1)] = 64
    device: Annotated[
        str, Flag("auto, cpu, cuda, cuda:N or mps; only auto falls back to the CPU.")
    ] = "auto"
    format: Annotated[Format, Flag("What to write to standard output.", panel="Results")] = "table"
    out: Annotated[Path | None, Flag("Also write the results, as JSON, to this file.")] = None
    report: Annotated[
        Path | None, Flag("Folder for report.html, pictures, tables and a model card.")
    ] = None
    save_predictions: Annotated[
        Path | None,
        Flag(
            "Write images, patients, probabilities and labels to this .csv or .parquet file.",
            metavar="FILE",
        ),
    ] = None
    medmnist: Annotated[Path | None, Flag("Folder for the predictions in MedMNIST's layout.")] = (
        None
    )
    fail_under: Annotated[
        tuple[str, ...],
        Flag(
            "Exit with 3 when a macro mean, or worst_METRIC, is lower.", metavar="METRIC=VALUE,..."
        ),
    ] = ()
    force: Annotated[bool, Flag("Replace what is there already.")] = False
