"""The images that a model was made with, as its checkpoint keeps them or its data still tell."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.errors import DeepChestError
from deepchest_cli.evaluation.compatibility import is_own
from deepchest_cli.model.checkpoint import LoadedModel
from deepchest_cli.model.reference import (
    SeenImages,
    number_of_name,
    number_of_patient,
    numbers_of,
)


def seen_images(dataset: RadiographDataset) -> SeenImages:
    """Return which images a model is trained on and chosen by that is made with a data set."""
    training, validation = dataset.rows("train"), dataset.rows("validation")
    names = dataset.columns["image_index"][training].tolist()
    both = np.concatenate([training, validation])
    patients = np.unique(dataset.columns["patient_id"][both]).tolist()
    named = dataset.manifest["source"].get("patients")  # else each image is a patient of its own
    return SeenImages(
        np.unique(numbers_of(dataset.pixel_hash[training])),
        np.unique(numbers_of(dataset.pixel_hash[validation])),
        _numbers(number_of_name(name) for name in names),
        _numbers(number_of_patient(patient) for patient in patients) if named else None,
    )


def seen_by(model: LoadedModel, scored: RadiographDataset) -> SeenImages | None:
    """Return the images that a model was made with; None where nothing tells.

    A run leaves them in its best checkpoint when it ends; for others its data are asked, where they
    still are what they were, or are the `scored` ones.
    """
    kept = None if model.seen is None else SeenImages.from_plain(model.seen)
    own = is_own(model.origin, scored)
    if kept is not None and (own or kept.patients is not None):
        return kept
    try:
        dataset = scored if own else open_dataset(Path(model.origin["config"]["data"]))
    except (DeepChestError, KeyError, TypeError):
        return kept
    return seen_images(dataset) if is_own(model.origin, dataset) else kept


def _numbers(values: Iterable[int]) -> NDArray[np.int64]:
    return np.array(sorted(set(values)), dtype=np.int64)
