"""One run of a comparison: its training, its record, and its predictions of the test split."""

from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.comparison.running.attempts import (
    attempt_at,
    finish,
    reopen,
    taken_over,
)
from deepchest_cli.comparison.running.failures import concerns_all_runs, describe_failure
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.records import (
    PREDICTIONS,
    RECORD,
    RunRecord,
    Status,
    final_record,
    is_complete,
    read_record,
    retrain_hint,
)
from deepchest_cli.comparison.running.tracking import tracked
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.reader import ImageReader
from deepchest_cli.engines.driving import INTERRUPTED
from deepchest_cli.errors import (
    DeepChestError,
    InterruptedRunError,
    LostDeviceError,
    UsageError,
)
from deepchest_cli.evaluation.fold_predictions import (
    load_probabilities,
    predictions_of,
    save_probabilities,
)
from deepchest_cli.evaluation.predictions import Predictions, predict_rows
from deepchest_cli.files import write_json
from deepchest_cli.interruption import stop_on_signal
from deepchest_cli.model.checkpoint import load_model
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.training.components import TrainingComponents, build_components
from deepchest_cli.training.device import cpu_threads, free_memory, resolve_device
from deepchest_cli.training.loop import Trainer
from deepchest_cli.training.progress import Observer
from deepchest_cli.training.run_directory import fill_run
from deepchest_cli.training.run_files import METRICS


def complete_job(
    job: Job, dataset: RadiographDataset, observer: Observer, cut_off: bool = False
) -> RunRecord:
    """Train one run to its end, write its record, and predict the test split with its best epoch.

    What was done before is kept, by whatever process. A divergence and a failure are results as
    well. cut_off: take over from a process that works on the run. Raises `InterruptedRunError` with
    the state saved, `LostDeviceError` where the device has failed, and `TakenOverError`.
    """
    record = final_record(job, dataset)
    if record is None:
        _reopen(job.folder)
        with attempt_at(job.folder, cut_off) as folder:
            if folder is not None:
                return _complete_attempt(replace(job, folder=folder), job.folder, dataset, observer)
        record = final_record(job, dataset)  # of a process that was quicker
        if record is None:
            raise taken_over(job.folder)
    return _scored(record, job, dataset)


def _reopen(place: Path) -> None:
    """Go on with a run that stands unfinished in its place, as earlier versions left them."""
    record = read_record(place)
    if not place.is_dir() or (record is not None and record.is_final):  # by now
        return
    if (place / METRICS).exists() and not (place / LAST).exists() and record is None:
        raise UsageError(f"{place} has lost its {RECORD}.", retrain_hint(place))
    reopen(place)


def _complete_attempt(
    job: Job, place: Path, dataset: RadiographDataset, observer: Observer
) -> RunRecord:
    """Complete the run in the folder of an attempt, and let it take its place if it is final."""
    try:
        record = final_record(job, dataset)
        if record is None:
            with cpu_threads(job.threads):
                record, lost = _train(job, dataset, observer)
            free_memory()  # of model and reader, which are gone only now
            write_json(job.folder / RECORD, asdict(record))
            if lost is not None:
                raise lost
        if record.is_final:
            # three times the model's size, and not needed
            (job.folder / LAST).unlink(missing_ok=True)
            record = _scored(record, job, dataset)
    except Exception as error:
        if not job.folder.is_dir():
            raise taken_over(job.folder) from error
        raise
    if record.is_final:
        finish(job.folder, place)
    return record


def _scored(record: RunRecord, job: Job, dataset: RadiographDataset) -> RunRecord:
    """Return the record of a run with the predictions made that are missing."""
    if not is_complete(job, record):
        with cpu_threads(job.threads):
            record = _with_predictions(record, job, dataset)
        free_memory()
    return record


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
        fill_run(job.folder, components.config)
        with tracked(job, observer.on_warning) as trackers:
            trainer = _resume_or_begin(components, job.folder, observer, *trackers)
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


def _resume_or_begin(components: TrainingComponents, folder: Path, *observers: Observer) -> Trainer:
    trainer = Trainer(components, folder, *observers, is_locked=True)
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
    save_probabilities(job.folder / PREDICTIONS, view, {"test": predictions.probabilities})


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
    found = predictions_of(dataset, rows, table)
    return replace(found, fold=fold if fold.any() else None)


def _load_predictions(
    job: Job, dataset: RadiographDataset
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    view = job.view(dataset)
    hint = "Remove the file and continue with --resume."
    return view.rows("test"), load_probabilities(job.folder / PREDICTIONS, view, hint)
