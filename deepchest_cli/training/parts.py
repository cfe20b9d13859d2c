"""The parts of a run that a configuration chooses: kernels, model, reader, augmentation."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.augmentation import PAPER, Augmentation
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import ImageReader, resolve_place
from deepchest_cli.errors import UsageError
from deepchest_cli.model.classifier import Architecture, Classifier
from deepchest_cli.model.sizes import refuse_unfit_size


def choose_kernels(deterministic: bool) -> None:
    """Let torch take the fastest kernels, or only those that give the same bits every time."""
    torch.use_deterministic_algorithms(deterministic)
    torch.backends.cudnn.benchmark = not deterministic


def build_classifier(
    config: TrainConfig, dataset: RadiographDataset, device: torch.device
) -> Classifier:
    """Return the model on its device; raises `UsageError` for a size that does not fit."""
    size = config.image_size or dataset.size
    if size > dataset.size:
        demo = " --demo" if dataset.manifest["source"]["synthetic"] else ""
        raise UsageError(
            f"--image-size {size} is larger than the stored {dataset.size} px of {config.data}.",
            f"Use {dataset.size} or less, or store larger images: "
            f"deepchest prepare{demo} --size {size} --data {config.data} --force",
        )
    refuse_unfit_size(config.backbone, size)
    architecture = Architecture(config.backbone, config.head, dataset.findings, size, dataset.size)
    classifier = Classifier(architecture, config.weights)
    if config.sync_batchnorm:
        classifier = nn.SyncBatchNorm.convert_sync_batchnorm(classifier)  # type: ignore[no-untyped-call]
    return classifier.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def build_reader(
    config: TrainConfig, dataset: RadiographDataset, rows: NDArray[np.int64], device: torch.device
) -> ImageReader:
    """Return what brings the images of `rows` onto the device."""
    place = resolve_place(config.cache, len(rows), dataset.size, device)
    return ImageReader(dataset, device, place, rows)


def choose_augmentation(config: TrainConfig) -> Augmentation | None:
    """Return the ranges to augment by; None: not at all."""
    if config.augment == "none":
        return Augmentation(0, (1, 1), 1, 0, 0, 0, flip=True) if config.flip else None
    return PAPER if config.augment == "paper" else Augmentation(flip=config.flip)
