"""From a configuration to everything that a training run works with."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from deepchest_cli import __version__
from deepchest_cli.config import TrainConfig, parse_assignment
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.training.device import resolve_device, resolve_precision
from deepchest_cli.training.optimisation import build_optimizer, build_schedule
from deepchest_cli.weighting import LossWeighter, build_weighter


@dataclass(frozen=True)
class Setup:
    """The parts of a run, fit together; the run directory is not among them."""

    config: TrainConfig
    dataset: RadiographDataset
    training_rows: NDArray[Any]
    validation_rows: NDArray[Any]
    device: torch.device
    precision: Literal["fp32", "bf16"]
    classifier: Classifier
    weighter: LossWeighter
    optimizer: Optimizer
    schedule: LambdaLR
    steps_per_epoch: int
    total_steps: int

    def origin(self) -> dict[str, Any]:
        """Return where a model of this run comes from, in values that a checkpoint can hold."""
        config = {
            key: str(value) if isinstance(value, Path) else value
            for key, value in asdict(self.config).items()
        }
        manifest = self.dataset.manifest
        return {
            "deepchest": __version__,
            "weighter": self.config.weighter,
            "config": {key: list(v) if isinstance(v, tuple) else v for key, v in config.items()},
            "data_sha256": self.dataset.sha256,
            "source": manifest["source"],
            "settings": manifest["settings"],
        }


def set_up(config: TrainConfig) -> Setup:
    """Build a run's parts; the seed fixes the initial weights.

    Raises `UsageError` for whatever in the configuration does not fit data or machine.
    """
    torch.manual_seed(config.seed)
    device = resolve_device(config.device)
    dataset = open_dataset(config.data)
    options = [parse_assignment(text, "--weighter-option") for text in config.weighter_option]
    weighter = build_weighter(config.weighter, dataset.findings, options)
    rows = {part: dataset.rows(part) for part in ("train", "validation")}
    _refuse_small_parts(dataset, rows, config)
    classifier = Classifier(_architecture(config, dataset), config.weights)
    _refuse_unfit_size(classifier)
    classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    if device.type != "mps":  # Metal has no double precision, which the weights are kept in
        weighter.to(device)
    optimizer = build_optimizer(classifier, weighter, config)
    steps = len(rows["train"]) // config.batch_size
    total = min(steps * config.epochs, config.max_steps or steps * config.epochs)
    return Setup(
        config=config,
        dataset=dataset,
        training_rows=rows["train"],
        validation_rows=rows["validation"],
        device=device,
        precision=resolve_precision(config.precision, device),
        classifier=classifier,
        weighter=weighter,
        optimizer=optimizer,
        schedule=build_schedule(optimizer, config, total),
        steps_per_epoch=steps,
        total_steps=total,
    )


def _refuse_small_parts(
    dataset: RadiographDataset, rows: dict[str, NDArray[Any]], config: TrainConfig
) -> None:
    images = len(rows["train"])
    if images < config.batch_size:
        raise UsageError(
            f"--batch-size {config.batch_size} is larger than the training part of {config.data} "
            f"({images} images).",
            f"Use --batch-size {max(images, 1)} or less, or prepare more images.",
        )
    if not dataset.known[rows["validation"]].any():
        raise UsageError(
            f"{config.data} has no labelled validation part to choose the best epoch on.",
            "Prepare the data again with --validation-fraction 0.1 --force",
        )


@torch.inference_mode()
def _refuse_unfit_size(classifier: Classifier) -> None:
    """Try the model on nothing, before a run folder is made for it."""
    size = classifier.architecture.image_size
    try:
        classifier.eval()(torch.zeros(2, 1, size, size))
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(
            f"{classifier.architecture.backbone} does not take radiographs of {size} px: {error}",
            "Choose another --image-size; most transformers want 224.",
        ) from error


def _architecture(config: TrainConfig, dataset: RadiographDataset) -> Architecture:
    size = config.image_size or dataset.size
    if size > dataset.size:
        raise UsageError(
            f"--image-size {size} is larger than the stored {dataset.size} px of {config.data}.",
            f"Use {dataset.size} or less, or store larger images: deepchest prepare --size {size}",
        )
    return Architecture(config.backbone, config.head, dataset.findings, size, dataset.size)
