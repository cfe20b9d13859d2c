"""Images that are scored: their predictions, their names and what is known of their patients."""

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.matching import image_key
from deepchest_cli.evaluation.predictions import Predictions


@dataclass(frozen=True)
class Cases:
    """N images of a part of some data."""

    predictions: Predictions
    image_index: NDArray[np.str_]  # (N,), without folder and ending
    age: NDArray[np.float64]  # (N,), years, NaN: unknown
    sex: NDArray[np.str_]  # (N,), F, M or empty
    view: NDArray[np.str_]  # (N,), PA, AP or others, or empty

    def __len__(self) -> int:
        return len(self.image_index)

    def taken(self, rows: NDArray[Any]) -> "Cases":
        """Return some of the cases, by their rows or by a mask (N,)."""
        table = self.predictions
        columns = (table.probabilities, table.labels, table.known, table.patient_id)
        return Cases(
            Predictions(table.findings, *(column[rows] for column in columns)),
            self.image_index[rows],
            self.age[rows],
            self.sex[rows],
            self.view[rows],
        )

    def with_probabilities(self, probabilities: NDArray[np.float64]) -> "Cases":
        """Return the same cases with other probabilities (N, T)."""
        return replace(self, predictions=replace(self.predictions, probabilities=probabilities))


def cases_of(
    dataset: RadiographDataset, rows: NDArray[np.int64], predictions: Predictions
) -> Cases:
    """Return the predictions for `rows` of a data set with what it says of them."""
    columns = {name: dataset.columns[name][rows] for name in ("image_index", "age", "sex", "view")}
    names = np.array([image_key(name) for name in columns["image_index"].tolist()], dtype=str)
    age = columns["age"].astype(np.float64)
    return Cases(predictions, names, age, columns["sex"], columns["view"])
