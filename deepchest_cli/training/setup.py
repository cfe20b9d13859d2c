"""From a configuration to everything that a training run works with."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from numpy.typing import NDArray
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LambdaLR

from deepchest_cli import __version__
from deepchest_cli.config import TrainConfig, parse_assignment
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.shards import MANIFEST
from deepchest_cli.errors import UsageError
from deepchest_cli.files import sha256_of
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
    precision: str
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
            "data_sha256": sha256_of(self.dataset.folder / MANIFEST),
            "split_scheme": self.dataset.split_scheme,
            "label_version": manifest["source"]["label_version"],
            "synthetic": manifest["source"]["synthetic"],
        }


def set_up(config: TrainConfig) -> Setup:
    """Build a run's parts; the seed fixes the initial weights.

    Raises `UsageError` for whatever in the configuration does not fit data or machine.
    """
    device = resolve_device(config.device)
    dataset = open_dataset(config.data)
    options = [parse_assignment(text, "--weighter-option") for text in config.weighter_option]
    weighter = build_weighter(config.weighter, dataset.findings, options)
    rows = {part: dataset.rows(part) for part in ("train", "validation")}
    _refuse_small_parts({part: len(found) for part, found in rows.items()}, config)
    torch.manual_seed(config.seed)
    classifier = Classifier(_architecture(config, dataset), config.weights)
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


def _refuse_small_parts(counts: dict[str, int], config: TrainConfig) -> None:
    if counts["train"] < config.batch_size:
        raise UsageError(
            f"--batch-size {config.batch_size} is larger than the training part of {config.data} "
            f"({counts['train']} images).",
            f"Use --batch-size {max(counts['train'], 1)} or less, or prepare more images.",
        )
    if not counts["validation"]:
        raise UsageError(
            f"{config.data} has no validation part, and the best epoch is chosen on it.",
            "Prepare the data again with --validation-fraction 0.1 --force",
        )


def _architecture(config: TrainConfig, dataset: RadiographDataset) -> Architecture:
    size = config.image_size or dataset.size
    if size > dataset.size:
        raise UsageError(
            f"--image-size {size} is larger than the stored {dataset.size} px of {config.data}.",
            f"Use {dataset.size} or less, or store larger images: deepchest prepare --size {size}",
        )
    return Architecture(config.backbone, config.head, dataset.findings, size, dataset.size)
