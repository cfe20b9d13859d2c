"""The keywords of each function: the flags of its command, without its arguments."""

# Written by docs/generate.py: change the sources and run it again.

from collections.abc import Iterable, Mapping
from os import PathLike
from typing import Literal, TypedDict

AnyPath = str | PathLike[str]
Text = str | float | Iterable[str] | Iterable[float]  # several are separated by commas
Several = AnyPath | Iterable[AnyPath] | Mapping[str, object]


class TrainOptions(TypedDict, total=False):
    """The keywords of `train`."""

    augment: Literal["none", "standard", "paper"] | None
    backbone: str
    batch_size: int
    cache: Literal["auto", "device", "host", "none"]
    clip_grad_norm: float
    compile: bool
    deterministic: bool
    device: str
    drop_path: float
    dropout: float
    ema: float
    epochs: int
    flip: bool
    folds: int | None
    freeze: Text | None
    grad_accum_steps: int
    grad_checkpoint: bool
    gradient_level: Literal["features", "parameters"]
    head: Literal["linear", "mlp", "cross-stitch"]
    image_size: int | None
    keep: Literal["best", "last"]
    layer_decay: float
    learning_rate: float
    linear_probe: bool
    logit_adjustment: float
    loss: Literal["bce", "focal", "asymmetric"]
    loss_option: Several
    max_steps: int | None
    optimizer: Literal["adamw", "sgd", "rmsprop"]
    out: AnyPath | None
    patience: int
    pool: Literal["auto", "class-token", "pooled", "mean"]
    pos_weight_power: float
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    recipe: AnyPath | None
    resume: AnyPath | None
    sampling: Literal["uniform", "balanced"]
    schedule: Literal["cosine", "constant"]
    seed: int
    source_sampling: Several
    sync_batchnorm: bool
    tasks: Literal["finding", "finding-by-source"]
    track: Several
    unfreeze_epoch: int | None
    warmup_steps: int
    weight_decay: float
    weighter: str
    weighter_option: Several
    weights: AnyPath
    config: AnyPath | None


class EvaluateOptions(TypedDict, total=False):
    """The keywords of `evaluate`."""

    allow_overlap: bool
    backbone: Several
    batch_size: int
    bootstrap_replicates: int
    calibration: Literal["platt", "temperature"]
    compare_to: AnyPath | None
    device: str
    expert_labels: AnyPath | None
    force: bool
    labels: AnyPath | None
    localization: bool
    logits: bool
    medmnist: AnyPath | None
    out: AnyPath | None
    predictions: AnyPath | None
    reference: Several
    report: AnyPath | None
    save_predictions: AnyPath | None
    seed: int
    split: Literal["train", "validation", "test", "all"]
    store: bool
    unit: Literal["image", "study", "patient"]
    validation: AnyPath | None
    view_weight: Several
    config: AnyPath | None


class CompareOptions(TypedDict, total=False):
    """The keywords of `compare`."""

    augment: Literal["none", "standard", "paper"] | None
    backbone: str
    batch_size: int
    bootstrap_replicates: int
    cache: Literal["auto", "device", "host", "none"]
    clip_grad_norm: float
    compile: bool
    cost_rounds: int
    dask: str | None
    deterministic: bool
    device: str
    devices: Text | None
    drop_path: float
    dropout: float
    ema: float
    epochs: int
    first_seed: int
    flip: bool
    folds: int | None
    freeze: Text | None
    grad_accum_steps: int
    grad_checkpoint: bool
    gradient_level: Literal["features", "parameters"]
    head: Literal["linear", "mlp", "cross-stitch"]
    image_size: int | None
    keep: Literal["best", "last"]
    layer_decay: float
    learning_rate: float
    logit_adjustment: float
    loss: Literal["bce", "focal", "asymmetric"]
    loss_option: Several
    margin: float
    max_steps: int | None
    optimizer: Literal["adamw", "sgd", "rmsprop"]
    out: AnyPath | None
    patience: int
    pool: Literal["auto", "class-token", "pooled", "mean"]
    pos_weight_power: float
    precision: Literal["auto", "fp32", "bf16", "fp16"]
    recipe: AnyPath | None
    resume: AnyPath | None
    sampling: Literal["uniform", "balanced"]
    schedule: Literal["cosine", "constant"]
    seeds: int
    single_task: bool
    source_sampling: Several
    sync_batchnorm: bool
    tasks: Literal["finding", "finding-by-source"]
    threads: int | None
    track: Several
    tune_learning_rate: bool
    unfreeze_epoch: int | None
    warmup_steps: int
    weight_decay: float
    weights: AnyPath
    config: AnyPath | None


class PredictOptions(TypedDict, total=False):
    """The keywords of `predict`."""

    backbone: Several
    batch_size: int | None
    device: str
    embeddings: AnyPath | None
    finding: Several
    force: bool
    heatmap: AnyPath | None
    source: str | None
    threshold: Text
    tta: bool
    unit: Literal["image", "study"]
    view_weight: Several
    workers: int | None
    config: AnyPath | None


class PrepareOptions(TypedDict, total=False):
    """The keywords of `prepare`."""

    allow_duplicates: bool
    allow_missing: bool
    blank: Literal["ignore", "zero"] | None
    dask: str | None
    demo: bool
    findings: Text | None
    force: bool
    images: int | None
    label_columns: Text | None
    label_map: AnyPath | None
    labels_csv: AnyPath | None
    layout: Literal[
        "auto",
        "nih",
        "nih-parquet",
        "chestmnist",
        "csv",
        "chexpert",
        "mimic-cxr",
        "padchest",
        "vindr",
        "rsna",
        "siim",
        "openi",
    ]
    long_tail: bool
    pad: bool
    path_column: str | None
    patient_column: str | None
    readers: int | None
    seed: int
    sites: int
    size: Text
    split_scheme: str | None
    study_column: str | None
    test_fraction: float
    uncertain: str
    validation_fraction: float
    views: Literal["frontal", "all"]
    workers: int | None
    config: AnyPath | None
