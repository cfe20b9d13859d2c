"""One run of a comparison: its training, its record, and its predictions of the test split."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import permutations
from pathlib import Path
from typing import Any, Literal, get_args
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.comparison.running.failures import concerns_all_runs, describe_failure
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.errors import (
    DeepChestError,
    InterruptedRunError,
    LostDeviceError,
    UsageError,
)
from deepchest_cli.evaluation.predictions import Predictions, predict_rows
from deepchest_cli.files import atomic_write, write_json
from deepchest_cli.interruption import stop_on_signal
from deepchest_cli.model.checkpoint import load_model
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.training.components import TrainingComponents, build_components
from deepchest_cli.training.device import free_memory, resolve_device
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.run_directory import fill_run

RECORD, PREDICTIONS = "run.json", "test.npz"
INTERRUPTED = "Interrupted; the state is saved."
Status = Literal["finished", "diverged", "failed"]


@dataclass(frozen=True)
class RunRecord:
    """How a run of a comparison ended."""

    status: Status
    data_sha256: str
    learning_rate: float
    settings: str  # SHA-256, see Job.settings
    device: str = ""  # cpu, cuda or mps; empty where the run could not begin
    precision: str = ""
    error: str | None = None
    epochs: int = 0
    steps: int = 0
    best_epoch: int = 0
    best_score: float | None = None  # on the validation split, by `criterion`
    criterion: str = ""
    initial_weights_sha256: str = ""  # SHA-256
    batches_sha256: tuple[str, ...] = ()  # SHA-256 of all rows up to the end of each epoch
    notes: tuple[str, ...] = ()  # of the weighter
    earlier_errors: tuple[str, ...] = ()  # of attempts that failed, for lack of memory for instance
    traceback: str | None = None  # of an error that nobody has foreseen

    @property
    def is_final(self) -> bool:
        """Whether training again would end alike, unlike after a lack of memory or disk space."""
        return self.status != "failed"


def retrain_hint(folder: Path) -> str:
    """Return how to repair a run whose files are lost or damaged."""
    return f"Remove the folder {folder} and continue with --resume: it is then trained again."


def read_record(folder: Path) -> RunRecord | None:
    """Return how the run in a folder ended; None if it has not."""
    path = folder / RECORD
    if not path.is_file():
        return None
    try:
        values: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        lists = ("batches_sha256", "notes", "earlier_errors")
        record = RunRecord(**values | {n: tuple(values[n]) for n in lists if n in values})
        if record.status not in get_args(Status):
            raise ValueError(f"status {record.status!r}")
        float(record.best_score or 0)
        return record
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise DeepChestError(f"{path} is damaged: {error!r}.", retrain_hint(folder)) from error


def final_record(job: Job, dataset: RadiographDataset) -> RunRecord | None:
    """Return the record of a run that needs no more training; None if it does.

    Raises `UsageError` where the run was trained on other data or with other settings.
    """
    record = read_record(job.folder)
    if record is None:
        return None
    if record.settings != job.settings:
        raise UsageError(
            f"{job.folder} was trained with other settings, other files of options or another "
            "partition into folds than this comparison has now.",
            "Restore them, or begin a new comparison.",
        )
    if record.data_sha256 != dataset.sha256:
        before = _order_of(record.data_sha256, dataset)
        if before:
            raise UsageError(
                f"The data sets are in another order than when {job.folder} was trained.",
                f"Name them as before: {' '.join(f'--data {folder}' for folder in before)}",
            )
        raise UsageError(
            f"The data in {dataset.folders} have changed since {job.folder} was trained.",
            "Prepare them with the same settings again, or begin a new comparison.",
        )
    return record if record.is_final else None


def _order_of(sha256: str, dataset: RadiographDataset) -> list[Path]:
    """Return the folders in the order in which their data have a hash; none if they never do."""
    for members in permutations(dataset.members):
        if replace(dataset, members=members).sha256 == sha256:
            return [member.folder for member in members]
    return []


def complete_job(job: Job, dataset: RadiographDataset, observer: Observer) -> RunRecord:
    """Train one run to its end, write its record, and predict the test split with its best epoch.

    What was done before is kept. A divergence and a failure are results as well. Raises
    `InterruptedRunError` with the state saved, and `LostDeviceError` where the device has failed.
    """
    record = final_record(job, dataset)
    if record is None:
        record, lost = _train(job, dataset, observer)
        free_memory()  # of model and reader, which are gone only now
        job.folder.mkdir(parents=True, exist_ok=True)  # missing where the run could not even begin
        write_json(job.folder / RECORD, asdict(record))
        if lost is not None:
            raise lost
        if record.is_final:
            # three times the model's size, and not needed
            (job.folder / LAST).unlink(missing_ok=True)
    if record.is_final and not is_complete(job, record):
        record = _with_predictions(record, job, dataset)
        free_memory()
    return record


def is_complete(job: Job, record: RunRecord | None) -> bool:
    """Whether nothing is left to train or to predict."""
    if record is None or not record.is_final:
        return False
    is_scored = job.scored and record.status == "finished"
    return not is_scored or (job.folder / PREDICTIONS).is_file()


def _train(
    job: Job, dataset: RadiographDataset, observer: Observer
) -> tuple[RunRecord, LostDeviceError | None]:
    """Return how the training ended, and the error where its device has failed."""
    before = read_record(job.folder)
    earlier = () if before is None else (*before.earlier_errors, str(before.error))
    rate = job.config.learning_rate
    record = RunRecord("finished", dataset.sha256, rate, job.settings, earlier_errors=earlier)
    trainer = None
    try:
        resumed = (job.folder / LAST).is_file()
        components = build_components(job.config, resumed=resumed, dataset=job.view(dataset))
        record = replace(record, device=components.device.type, precision=components.precision)
        trainer = _resume_or_begin(components, job.folder, observer)
        summary = trainer.fit()
    except Exception as error:
        record, lost = _with_failure(record, error, job)
        return replace(record, **_progress_of(trainer)), lost
    ended = replace(
        record,
        **_progress_of(trainer),
        best_epoch=summary.best_epoch,
        best_score=summary.best_score,
        criterion=summary.criterion,
        notes=tuple(trainer.state.notes),
    )
    return ended, None


def _with_failure(
    record: RunRecord, error: Exception, job: Job
) -> tuple[RunRecord, LostDeviceError | None]:
    """Return the record of a run that an error has ended; raise it where it concerns all runs."""
    if concerns_all_runs(error):
        raise error
    failure = describe_failure(error, job.config.device)
    status: Status = "diverged" if failure.diverged else "failed"
    failed = replace(record, status=status, error=failure.error, traceback=failure.traceback)
    return failed, failure.lost


def _resume_or_begin(components: TrainingComponents, folder: Path, observer: Observer) -> Trainer:
    fill_run(folder, components.config)
    trainer = Trainer(components, folder, observer)
    try:
        trainer.resume()
    except DeepChestError as error:  # the last checkpoint is lost, damaged or of another run
        raise UsageError(error.message, retrain_hint(folder)) from error
    return trainer


def _progress_of(trainer: Trainer | None) -> dict[str, Any]:
    if trainer is None:
        return {}
    position = trainer.state
    return {
        "initial_weights_sha256": position.initial_weights,
        "batches_sha256": tuple(position.epoch_batches),
        "epochs": position.epoch,
        "steps": position.step,
    }


def _with_predictions(record: RunRecord, job: Job, dataset: RadiographDataset) -> RunRecord:
    """Predict the test split with the best epoch; where that fails, return how.

    The record that is written stays, so that only the predictions are made anew on --resume.
    """
    try:
        _predict_test_split(job, dataset)
    except Exception as error:
        failed, lost = _with_failure(record, error, job)
        if lost is not None:
            raise lost from error
        return failed
    return record


def _predict_test_split(job: Job, dataset: RadiographDataset) -> None:
    view, device = job.view(dataset), resolve_device(job.config.device)
    rows, size = view.rows("test"), job.config.batch_size
    try:
        model = load_model(job.folder, device).classifier
    except DeepChestError as error:
        raise UsageError(error.message, retrain_hint(job.folder)) from error
    with stop_on_signal() as stop:
        try:
            heed = stop.heeded(lambda *_: None)
            predictions = predict_rows(model, ImageReader(view, device), rows, size, heed)
        except KeyboardInterrupt:
            if stop.exit_code is None:
                raise
            raise InterruptedRunError(INTERRUPTED, "", stop.exit_code) from None
    with atomic_write(job.folder / PREDICTIONS) as temporary, temporary.open("wb") as file:
        np.savez(file, rows=rows, probabilities=predictions.probabilities)


def tested_rows(dataset: RadiographDataset, folds: int | None) -> NDArray[np.int64]:
    """Return the rows that each arm and seed predicts: the test split, or that of every fold."""
    if folds is None:
        return dataset.rows("test")
    return np.flatnonzero(dataset.columns["split"] != "")


def merge_predictions(jobs: Sequence[Job], dataset: RadiographDataset) -> Predictions:
    """Return one table of the runs of an arm and a seed: all folds, or all single-task models.

    Every image stands in it once, in the order of the data set, with the fold that it is tested in.
    """
    loaded = {job.folder: _load_predictions(job, dataset) for job in jobs}
    rows = np.unique(np.concatenate([job_rows for job_rows, _ in loaded.values()]))
    table = np.full((len(rows), len(dataset.findings)), np.nan)
    fold = np.zeros(len(rows), dtype=np.int64)
    for job in jobs:
        job_rows, probabilities = loaded[job.folder]
        places = np.searchsorted(rows, job_rows)
        columns = [i for i, name in enumerate(dataset.findings) if job.finding in (None, name)]
        table[np.ix_(places, np.array(columns))] = probabilities
        fold[places] = job.fold_number or 0
    return Predictions(
        findings=dataset.findings,
        probabilities=table,
        labels=dataset.labels[rows],
        known=dataset.known[rows],
        patient_id=dataset.columns["patient_id"][rows],
        fold=fold if fold.any() else None,
    )


def _load_predictions(
    job: Job, dataset: RadiographDataset
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    path, view = job.folder / PREDICTIONS, job.view(dataset)
    try:
        with path.open("rb") as file, np.load(file) as content:
            rows, probabilities = content["rows"], content["probabilities"]
        if not np.array_equal(rows, view.rows("test")):
            raise ValueError("it holds other radiographs")
        if probabilities.shape != (len(rows), len(view.findings)):
            raise ValueError("it holds other findings")
        return rows, probabilities.astype(np.float64)
    except (OSError, ValueError, KeyError, TypeError, EOFError, BadZipFile) as error:
        raise DeepChestError(
            f"{path} is damaged: {error}.", "Remove the file and continue with --resume."
        ) from error
