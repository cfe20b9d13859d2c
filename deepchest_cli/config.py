"""Configuration: one frozen dataclass per command, from which its flags and its file keys follow.

A field's annotation carries its `Flag`: help, bounds and spelling stand in one place. Values come
from the command line, over a TOML file, over the defaults here.
"""

import json
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

from deepchest_cli.errors import UsageError, unknown_name

NIH_SOURCE = Path("data/nih")
DEMO_SOURCE = Path("data/demo")
DEFAULT_DATA = Path("data/shards")
DEMO_DATA = Path("data/demo-shards")
DEFAULT_MODEL = Path("runs/latest")
RUN_CONFIG = "config.toml"  # in a run's folder

Part = Literal["train", "validation", "test"]
Format = Literal["table", "json", "csv"]


@dataclass(frozen=True)
class Flag:
    """How a field of a configuration appears on the command line and in its help."""

    help: str
    minimum: float | None = None
    maximum: float | None = None
    metavar: str | None = None
    positional: bool = False
    values_from: str | None = None  # file in the named folder whose values become the defaults


Data = Annotated[Path, Flag("Folder of prepared shards.")]
Device = Annotated[str, Flag("auto, cpu, cuda, cuda:N or mps; only auto falls back.")]
Seed = Annotated[
    int, Flag("Seed of everything that is drawn at random.", minimum=0, maximum=2**32 - 1)
]
Model = Annotated[Path, Flag("Run folder or checkpoint file.")]


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
    allow_missing: Annotated[
        bool, Flag("Publish even though images are missing or unreadable.")
    ] = False
    workers: Annotated[int | None, Flag("Decoding processes. [one per core]", minimum=1)] = None
    seed: Seed = 0
    force: Annotated[bool, Flag("Replace data prepared with other settings.")] = False


@dataclass(frozen=True)
class TrainConfig:
    """Everything that determines a training run; a run's `config.toml` is one of these."""

    data: Data = DEFAULT_DATA
    out: Annotated[Path | None, Flag("Run folder. [runs/<time>-<backbone>-<weighter>]")] = None
    resume: Annotated[
        Path | None,
        Flag(
            "Go on with an interrupted run, exactly where it ended.",
            metavar="RUN",
            values_from=RUN_CONFIG,
        ),
    ] = None
    weighter: Annotated[str, Flag("How the findings' losses are weighted.")] = "deepchest"
    weighter_option: Annotated[
        tuple[str, ...], Flag("A parameter of the weighter; may be repeated.", metavar="KEY=VALUE")
    ] = ()
    backbone: Annotated[str, Flag("Any torchvision classifier by its name.")] = "resnet50"
    weights: Annotated[
        str, Flag("Initial weights: none, imagenet, or a file.", metavar="none|imagenet|PATH")
    ] = "none"
    head: Annotated[
        Literal["linear", "mlp"], Flag("One linear layer, or 512 units with ReLU before it.")
    ] = "linear"
    image_size: Annotated[
        int | None, Flag("Trained pixels, at most the stored ones. [as stored]", minimum=28)
    ] = None
    epochs: Annotated[int, Flag("Passes over the training part.", minimum=1)] = 15
    max_steps: Annotated[int | None, Flag("Stop after so many steps.", minimum=1)] = None
    patience: Annotated[
        int, Flag("Stop after so many epochs without a better validation; 0: never.", minimum=0)
    ] = 5
    batch_size: Annotated[int, Flag("Radiographs in a step.", minimum=2)] = 32
    learning_rate: Annotated[float, Flag("Learning rate at its peak.", minimum=0, maximum=1e9)] = (
        3e-4
    )
    weight_decay: Annotated[float, Flag("Decoupled for adamw.", minimum=0, maximum=1e9)] = 1e-2
    optimizer: Annotated[Literal["adamw", "sgd", "rmsprop"], Flag("Optimiser.")] = "adamw"
    schedule: Annotated[Literal["cosine", "constant"], Flag("Learning rate after the warm-up.")] = (
        "cosine"
    )
    warmup_steps: Annotated[int, Flag("Steps of linear warm-up.", minimum=0)] = 20
    augment: Annotated[bool, Flag("Rotate, scale, shift and change the exposure at random.")] = True
    flip: Annotated[bool, Flag("Mirror at random as well; this mirrors the heart.")] = False
    precision: Annotated[
        Literal["auto", "fp32", "bf16"], Flag("auto: bf16 where the device computes it fast.")
    ] = "auto"
    device: Device = "auto"
    seed: Seed = 0


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


def read_toml(path: Path, config_type: type[Any]) -> dict[str, Any]:
    """Return the values of a configuration file by field name; unknown keys are errors."""
    import tomllib

    if not path.is_file():
        raise UsageError(f"There is no configuration file {path}.", "Check the path of --config.")
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"{path} is not valid TOML: {error}.") from error
    types = get_type_hints(config_type, include_extras=True)
    values = {key.replace("-", "_"): value for key, value in document.items()}
    for key, value in values.items():
        if key not in types:
            unknown = unknown_name("key", key, types)
            raise UsageError(f"{path}: {unknown.message}", unknown.hint)
        values[key] = _checked(value, types[key], f"{path}: key {key!r}")
    return values


def _checked(value: Any, annotation: Any, where: str) -> Any:
    """Return a file's value in the form the command line takes; wrong types are errors."""
    kind = get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation
    if get_origin(kind) is tuple:
        if isinstance(value, dict):
            return [f"{name}={entry}" for name, entry in value.items()]
        if isinstance(value, list) and all(isinstance(entry, str) for entry in value):
            return value
        raise UsageError(f"{where} should be a list of strings. Found {value!r}.")
    if isinstance(value, bool) != (kind is bool) or isinstance(value, (list, dict)):
        raise UsageError(f"{where} should be of type {_readable(kind)}. Found {value!r}.")
    return value


def _readable(kind: Any) -> str:
    return kind.__name__ if isinstance(kind, type) else str(kind).replace("typing.", "")


def to_toml(config: Any) -> str:
    """Return a configuration as TOML that `read_toml` takes back; unset values are left out."""
    lines = []
    for field in fields(config):
        value = getattr(config, field.name)
        if value is not None:
            plain = str(value) if isinstance(value, Path) else value
            # JSON's strings, numbers, booleans and lists of strings are TOML as well
            lines.append(f"{field.name} = {json.dumps(plain, ensure_ascii=False)}")
    return "\n".join(lines) + "\n"


def find_data(data: Path) -> tuple[Path, str]:
    """Return the folder of shards to use and a note: without the default one, the demo's."""
    if data == DEFAULT_DATA and not data.exists() and DEMO_DATA.exists():
        return DEMO_DATA, f"{data} is not there; using the synthetic radiographs in {DEMO_DATA}."
    return data, ""


def parse_assignment(text: str, flag: str) -> tuple[str, str]:
    """Split `key=value`, the form of every repeated option."""
    key, separator, value = text.partition("=")
    if not separator or not key.strip() or not value.strip():
        raise UsageError(f"{flag} takes KEY=VALUE. Found {text!r}.")
    return key.strip().replace("-", "_"), value.strip()
