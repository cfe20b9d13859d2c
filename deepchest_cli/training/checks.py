"""What in a configuration does not fit the data, the machine or the number of processes."""

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.config import TrainConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.errors import UsageError
from deepchest_cli.training.ranks import Ranks


def refuse_unfit_parts(
    dataset: RadiographDataset, rows: dict[str, NDArray[np.int64]], config: TrainConfig
) -> None:
    """Raise `UsageError` unless there are a batch to train on and labels to validate with."""
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


def refuse_unfit_batch(config: TrainConfig, ranks: Ranks) -> None:
    """Raise `UsageError` unless a batch divides evenly over the processes and the parts."""
    parts = ranks.count * config.accumulate
    # batch norm needs two of everything
    if config.batch_size % parts or config.batch_size < 2 * parts:
        nearest = max(round(config.batch_size / parts), 2) * parts
        raise UsageError(
            f"--batch-size {config.batch_size} does not divide into {parts} parts of two or more "
            f"({ranks.count} processes, --accumulate {config.accumulate}).",
            f"Use --batch-size {nearest}.",
        )


def refuse_unfit_device(config: TrainConfig, ranks: Ranks, device: torch.device) -> None:
    """Raise `UsageError` for what a kind of device cannot do."""
    if config.sync_batchnorm and device.type != "cuda":
        raise UsageError(
            f"--sync-batchnorm works on CUDA devices only, not on {device.type}.", "Leave it out."
        )
    if ranks.count > 1 and device.type == "mps":
        raise UsageError("Metal devices cannot share a run.", "Use --device cpu, or one process.")
    if ranks.count > 1 and ":" in config.device:
        raise UsageError(
            f"--device {config.device} names one GPU, but the run has {ranks.count} processes.",
            "Use --device cuda: each process takes its own.",
        )
