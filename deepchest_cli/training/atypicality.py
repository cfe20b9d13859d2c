"""What a finished run stores in its best checkpoint: statistics by which images are atypical."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.evaluation.overlap import training_images_of
from deepchest_cli.model.checkpoint import load_model, store_reference
from deepchest_cli.model.checkpoint_format import BEST
from deepchest_cli.model.classifier import Classifier, outputs_of
from deepchest_cli.model.reference import Reference, correlation_of, fit_reference, thumbnail
from deepchest_cli.training.components import TrainingComponents

MAX_IMAGES = 1024  # of either split: a small fraction of an epoch

Check = Callable[[], None]


def statistics_batches(components: TrainingComponents) -> int:
    """Return how many batches the statistics of a run take at most."""
    splits = (components.training_rows, components.validation_rows)
    return sum(math.ceil(len(_subset(rows)) / components.micro_batch_size) for rows in splits)


def store_training_statistics(
    components: TrainingComponents, folder: Path, run: dict[str, Any], check: Check
) -> None:
    """Write statistics and hashes of the training images into a run's best checkpoint.

    run: how the run ended, as `store_reference` takes it; `check` is called after each batch and
    may raise. Nothing is done where the checkpoint has them already, or is not there.
    """
    if not (folder / BEST).is_file():
        return
    model = load_model(folder / BEST, components.device)
    if model.reference is None:
        reference = reference_statistics(components, model.classifier, check)
        dataset = components.dataset
        images = [training_images_of(dataset, n).to_plain() for n in range(len(dataset.members))]
        store_reference(model, reference.to_plain(), images, run)


def reference_statistics(
    components: TrainingComponents, classifier: Classifier, check: Check = lambda: None
) -> Reference:
    """Return statistics of a model's features and of its images, without augmentation."""
    dataset = components.dataset
    training = _subset(components.training_rows)
    validation = _subset(components.validation_rows)
    thumbnails = [thumbnail(image) for image in dataset.gather(training)]
    mean_image = np.asarray(np.mean(thumbnails, axis=0))
    correlations = [
        correlation_of(thumbnail(image), mean_image) for image in dataset.gather(validation)
    ]
    return fit_reference(
        _features(components, classifier, training, check),
        _features(components, classifier, validation, check),
        mean_image,
        np.asarray(correlations),
    )


def _subset(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at most `MAX_IMAGES` rows, evenly spaced."""
    if len(rows) <= MAX_IMAGES:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, MAX_IMAGES).astype(int)])


def _features(
    components: TrainingComponents, classifier: Classifier, rows: NDArray[np.int64], check: Check
) -> NDArray[np.float32]:
    """Return features (N, D) of rows."""
    size, device, read = components.micro_batch_size, components.device, components.reader.read
    if components.heads is not None:  # the reader has the trunk's
        with torch.inference_mode():
            return np.asarray(classifier.classify(read(rows))[0].cpu())
    features = []
    for first in range(0, len(rows), size):
        batch = outputs_of(classifier, read(rows[first : first + size]), size, device)[0]
        features.append(batch.float().cpu().numpy())
        check()
    return np.concatenate(features)
