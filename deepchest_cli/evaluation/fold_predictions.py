"""Stored predictions of some rows of a data set by the model of a run."""

from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.errors import DeepChestError
from deepchest_cli.evaluation.predictions import Predictions
from deepchest_cli.files import atomic_write

Arrays = dict[str, NDArray[np.float64]]
ROWS, PROBABILITIES = "rows", "probabilities"  # of the test split; of others "SPLIT_rows"


def save_probabilities(
    path: Path, dataset: RadiographDataset, by_split: dict[str, NDArray[np.float64]]
) -> None:
    """Write the probabilities (n, T) of whole splits of a data set, with the rows of each."""
    arrays: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {}
    for split, probabilities in by_split.items():
        arrays[_name(split, ROWS)] = dataset.rows(split)
        arrays[_name(split, PROBABILITIES)] = probabilities
    with atomic_write(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]


def load_probabilities(
    path: Path, dataset: RadiographDataset, hint: str, split: str = "test"
) -> NDArray[np.float64]:
    """Return the probabilities (n, T) of a split, all of whose rows have to be there.

    Raises `DeepChestError`, with the hint, for a file that is damaged or of other data.
    """
    rows = dataset.rows(split)
    try:
        with path.open("rb") as file, np.load(file) as content:
            found = content[_name(split, ROWS)]
            probabilities = content[_name(split, PROBABILITIES)]
        if not np.array_equal(found, rows):
            raise ValueError("it holds other radiographs")
        if probabilities.shape != (len(rows), len(dataset.findings)):
            raise ValueError("it holds other findings")
        return np.asarray(probabilities, dtype=np.float64)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DeepChestError(f"{path} is damaged: {error}.", hint) from error


def _name(split: str, array: str) -> str:
    return array if split == "test" else f"{split}_{array}"


def predictions_of(
    dataset: RadiographDataset, rows: NDArray[np.int64], probabilities: NDArray[np.float64]
) -> Predictions:
    """Return the table of some rows of a data set, with probabilities (n, T) of its findings."""
    return Predictions(
        findings=dataset.findings,
        probabilities=probabilities,
        labels=dataset.labels[rows],
        known=dataset.known[rows],
        patient_id=dataset.columns["patient_id"][rows],
    )
