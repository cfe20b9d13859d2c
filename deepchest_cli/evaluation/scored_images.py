"""Images that are scored: their predictions, their names and the metadata of their patients."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.matching import image_key
from deepchest_cli.evaluation.predictions import Predictions


@dataclass(frozen=True)
class ScoredImages:
    """N images of a split of some data."""

    predictions: Predictions
    image_index: NDArray[np.str_]  # (N,), without folder and ending
    age: NDArray[np.float64]  # (N,), years, NaN: unknown
    sex: NDArray[np.str_]  # (N,), F, M or empty
    view: NDArray[np.str_]  # (N,), PA, AP or others, or empty

    def __len__(self) -> int:
        return len(self.image_index)

    def taken(self, rows: NDArray[Any]) -> "ScoredImages":
        """Return some of the images, by their rows or by a mask (N,)."""
        table = self.predictions
        columns = (table.probabilities, table.labels, table.known, table.patient_id)
        return ScoredImages(
            Predictions(table.findings, *(column[rows] for column in columns)),
            self.image_index[rows],
            self.age[rows],
            self.sex[rows],
            self.view[rows],
        )

    def with_probabilities(self, probabilities: NDArray[np.float64]) -> "ScoredImages":
        """Return the same images with other probabilities (N, T)."""
        return replace(self, predictions=replace(self.predictions, probabilities=probabilities))


def scored_images(
    dataset: RadiographDataset, rows: NDArray[np.int64], predictions: Predictions
) -> ScoredImages:
    """Return the predictions for `rows` of a data set with its metadata of them."""
    columns = {name: dataset.columns[name][rows] for name in ("image_index", "age", "sex", "view")}
    names = np.array([image_key(name) for name in columns["image_index"].tolist()], dtype=str)
    age = columns["age"].astype(np.float64)
    return ScoredImages(predictions, names, age, columns["sex"], columns["view"])
