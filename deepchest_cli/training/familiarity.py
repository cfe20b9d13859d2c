"""What a finished run leaves in its best checkpoint about the images that made it."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.evaluation.overlap import training_images_of
from deepchest_cli.model.checkpoint import BEST, load_model, store_reference
from deepchest_cli.model.classifier import Classifier, outputs_of
from deepchest_cli.model.reference import (
    Reference,
    correlation_of,
    fit_reference,
    thumbnail,
)
from deepchest_cli.training.setup import Setup

MOST = 1024  # images of either part that are looked at again: a small share of one epoch


def describe_training_images(setup: Setup, folder: Path, run: dict[str, Any]) -> None:
    """Write into a run's best checkpoint how its training images look to it, and which they were.

    run: how the run ended, as `store_reference` takes it. Nothing is done where the checkpoint has
    that already, or is not there.
    """
    if not (folder / BEST).is_file():
        return
    model = load_model(folder / BEST, setup.device)
    if model.reference is None:
        reference = look_again(setup, model.classifier)
        store_reference(
            model, reference.to_plain(), training_images_of(setup.dataset).to_plain(), run
        )


def look_again(setup: Setup, classifier: Classifier) -> Reference:
    """Return how a model sees its training radiographs, without augmentation."""
    training, validation = _some(setup.training_rows), _some(setup.validation_rows)
    small = [thumbnail(image) for image in setup.dataset.gather(training)]
    picture = np.asarray(np.mean(small, axis=0))
    correlations = [
        correlation_of(thumbnail(image), picture) for image in setup.dataset.gather(validation)
    ]
    return fit_reference(
        _features(setup, classifier, training),
        _features(setup, classifier, validation),
        picture,
        np.asarray(correlations),
    )


def _some(rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return at most `MOST` rows, evenly from first to last."""
    if len(rows) <= MOST:
        return rows
    return np.asarray(rows[np.linspace(0, len(rows) - 1, MOST).astype(int)])


def _features(setup: Setup, classifier: Classifier, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return features (N, D) of rows."""
    size = setup.micro_batch
    parts = [
        outputs_of(classifier, setup.reader.read(rows[at : at + size]), size, setup.device)[0]
        for at in range(0, len(rows), size)
    ]
    return np.concatenate([part.float().cpu().numpy() for part in parts])
