"""The test part, seen once: each finished run's predictions, kept beside it."""

from collections.abc import Callable, Sequence
from zipfile import BadZipFile

import numpy as np
import torch
from numpy.typing import NDArray

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import again
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import DeepChestError
from deepchest_cli.evaluation.predictions import Predictions, predict_rows
from deepchest_cli.files import atomic_write
from deepchest_cli.model.checkpoint import load_model

PREDICTIONS = "test.npz"


def score_all(
    jobs: Sequence[Job],
    dataset: RadiographDataset,
    device: torch.device,
    progress: Callable[[int, int], None],
) -> None:
    """Predict each run's test part with its best epoch, where that has not been done yet."""
    waiting = [job for job in jobs if not (job.folder / PREDICTIONS).is_file()]
    for number, job in enumerate(waiting):
        view = job.view(dataset)
        rows = view.rows("test")
        try:
            model = load_model(job.folder, device).classifier
        except DeepChestError as error:
            raise DeepChestError(error.message, again(job.folder)) from error
        reader = ImageReader(view, device)
        found = predict_rows(model, reader, rows, job.config.batch_size)
        with atomic_write(job.folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
            np.savez(file, rows=rows, probabilities=found.probabilities)
        progress(number + 1, len(waiting))


def gathered(jobs: Sequence[Job], dataset: RadiographDataset) -> Predictions:
    """Return one table from the runs of one arm and seed: of all folds, or of all findings.

    Every image stands in it once, in stored order.
    """
    loaded = {job.folder: _load(job, dataset) for job in jobs}
    rows = np.sort(np.unique(np.concatenate([mine for mine, _ in loaded.values()])))
    table = np.full((len(rows), len(dataset.findings)), np.nan)
    for job in jobs:
        mine, probabilities = loaded[job.folder]
        columns = [i for i, name in enumerate(dataset.findings) if job.finding in (None, name)]
        table[np.ix_(np.searchsorted(rows, mine), np.array(columns))] = probabilities
    return Predictions(
        dataset.findings,
        table,
        dataset.labels[rows],
        dataset.known[rows],
        dataset.columns["patient_id"][rows],
    )


def _load(job: Job, dataset: RadiographDataset) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    path, view = job.folder / PREDICTIONS, job.view(dataset)
    try:
        with path.open("rb") as file, np.load(file) as content:
            rows, probabilities = content["rows"], content["probabilities"]
        if not np.array_equal(rows, view.rows("test")):
            raise ValueError("it is about other radiographs")
        if probabilities.shape != (len(rows), len(view.findings)):
            raise ValueError("it is about other findings")
        return rows, probabilities.astype(np.float64)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DeepChestError(
            f"{path} is damaged: {error}.", "Remove the file and go on with --resume."
        ) from error
