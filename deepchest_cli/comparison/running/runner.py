"""Training of all runs of a comparison, by whatever engine."""

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Protocol

from deepchest_cli.comparison.running.attempts import attempts_at
from deepchest_cli.comparison.running.devices import refuse_other_kind
from deepchest_cli.comparison.running.failures import computes, concerns_all_runs
from deepchest_cli.comparison.running.job_list import Runs
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.records import (
    RECORD,
    RunRecord,
    final_record,
    is_complete,
    latest_record,
    refuse_other_data,
)
from deepchest_cli.comparison.running.run import complete_job
from deepchest_cli.config import CompareConfig
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.shards import MANIFEST
from deepchest_cli.engines.base import Engine
from deepchest_cli.engines.driving import drive
from deepchest_cli.engines.local import DevicePool, InProcess
from deepchest_cli.engines.session import open_session
from deepchest_cli.engines.task import Report, Task
from deepchest_cli.errors import DeepChestError, LostDeviceError
from deepchest_cli.files import sha256_of, write_json
from deepchest_cli.training.progress import Observer, StepReport


class ComparisonObserver(Protocol):
    """Receives the progress of a comparison."""

    def on_progress(self, done: float, total: int) -> None:
        """Receive the number of runs done, with the current one as a fraction."""

    def on_run(self, job: Job, record: RunRecord, done: int, total: int) -> None:
        """Receive the record of a run that has ended."""

    def on_note(self, text: str) -> None:
        """Receive a message for the user."""

    def on_warning(self, text: str) -> None:
        """Receive a warning for the user."""


@contextmanager
def open_engine(
    config: CompareConfig,
    devices: list[str],
    dataset: RadiographDataset,
    folder: Path,
    observer: ComparisonObserver,
) -> Iterator[Engine]:
    """Yield what completes the runs: this process, one for each device, or a cluster of Dask.

    devices: those that fail are removed.
    """
    if config.dask is None and len(devices) == 1:
        yield InProcess(devices[0])
        return
    with open_session(folder) as session:
        if config.dask is None:
            with DevicePool(devices, session) as pool:
                yield pool
            return
        from deepchest_cli.engines.dask_cluster import DaskCluster

        manifests = [member.folder.absolute() / MANIFEST for member in dataset.members]
        files = [(path, sha256_of(path)) for path in manifests]
        say = observer.on_warning, observer.on_note
        with DaskCluster(config.dask, session, files, *say) as cluster:
            yield cluster


def train_all(
    jobs: Sequence[Job],
    dataset: RadiographDataset,
    device: str,
    engine: Engine,
    observer: ComparisonObserver,
) -> Runs:
    """Train and score what is missing, and return all runs in the order of the jobs.

    device: of the kind that computes. Raises `InterruptedRunError` with the state of current runs
    saved, and `LostDeviceError` where no device is left.
    """
    records = {job.folder: final_record(job, dataset) for job in jobs}
    missing = [job for job in jobs if not is_complete(job, records[job.folder])]
    # what has failed before comes last: it may stop this process, or its device, again
    missing.sort(key=_has_failed)
    refuse_other_kind(jobs, records, device)
    progress = _Progress(observer, len(jobs) - len(missing), len(jobs))
    tasks = {
        Task(_key_of(job), job.name, *_work_of(job, dataset, engine, progress)): job
        for job in missing
    }
    with closing(drive(list(tasks), engine, progress.move, observer.on_warning)) as outcomes:
        for task, outcome in outcomes:
            job = tasks[task]
            record = _record_of(job, dataset, outcome)
            records[job.folder] = record
            progress.done += 1
            observer.on_run(job, record, progress.done, len(jobs))
            if record.status == "failed" and isinstance(engine, InProcess):
                _require_device(job, device)
    return [(job, ended) for job in jobs if (ended := records[job.folder]) is not None]


def _key_of(job: Job) -> str:
    """Return a key that no run has for which learning rates were chosen before."""
    return f"{job.folder.parent.name}-{job.folder.name}"


def _has_failed(job: Job) -> bool:
    record = latest_record(job.folder)
    return record is not None and not record.is_final


def _record_of(job: Job, dataset: RadiographDataset, outcome: Any) -> RunRecord:
    """Return the record of a task that has ended; raise what concerns all runs."""
    if isinstance(outcome, RunRecord):
        return outcome
    if not isinstance(outcome, DeepChestError) or concerns_all_runs(outcome):
        raise outcome
    written = latest_record(job.folder)
    if written is not None:  # by the process that has raised the error
        return replace(written, status="failed", error=outcome.message)
    if isinstance(outcome, LostDeviceError):
        raise outcome
    # it was killed, again and again
    record = RunRecord("failed", dataset.sha256, job.config.learning_rate, job.settings)
    record = replace(record, error=f"{outcome.message} {outcome.hint}")
    for attempt in attempts_at(job.folder)[-1:]:
        write_json(attempt / RECORD, asdict(record))
    return record


def _require_device(job: Job, device: str) -> None:
    if not computes(device):
        raise DeepChestError(
            f"{job.name} has stopped {device}, which this process can no longer use.",
            "What has finished is kept. Continue with --resume, which tries that run last.",
        )


class _Progress(Observer):
    """The progress of single runs as that of the comparison."""

    def __init__(self, observer: ComparisonObserver, done: int, total: int) -> None:
        self.observer, self.done, self.total = observer, done, total

    def move(self, share: float) -> None:
        """Receive the share of the current runs that is done, in runs."""
        self.observer.on_progress(self.done + share, self.total)

    def on_note(self, text: str) -> None:
        self.observer.on_note(text)

    def on_warning(self, text: str) -> None:
        self.observer.on_note(text)


class _Reports(Observer):
    """Tells an engine how much of a run is done, and another observer the rest."""

    def __init__(self, report: Report, notes: Observer) -> None:
        self.report, self.notes = report, notes

    def on_step(self, report: StepReport) -> None:
        self.report(report.share_done)

    def on_note(self, text: str) -> None:
        self.notes.on_note(text)

    def on_warning(self, text: str) -> None:
        self.notes.on_warning(text)


def _work_of(
    job: Job, dataset: RadiographDataset, engine: Engine, progress: Observer
) -> tuple[Any, Any]:
    """Return the function that completes a job where the engine does, and its argument."""
    if isinstance(engine, InProcess):
        return _complete_here, (job, dataset, progress)
    folders = tuple(str(member.folder.absolute()) for member in dataset.members)
    return _complete_elsewhere, (job.absolute(), folders, dataset.sha256)


def _complete_here(
    argument: tuple[Job, RadiographDataset, Observer], device: str | None, report: Report
) -> RunRecord:
    job, dataset, progress = argument
    return complete_job(job.on(device), dataset, _Reports(report, progress))


def _complete_elsewhere(
    argument: tuple[Job, tuple[str, ...], str], device: str | None, report: Report
) -> RunRecord:
    job, folders, sha256 = argument
    dataset = _open_once(folders, sha256)
    refuse_other_data(sha256, dataset, "the comparison began")
    return complete_job(job.on(device), dataset, _Reports(report, Observer()), cut_off=True)


@lru_cache(maxsize=1)
def _open_once(folders: tuple[str, ...], sha256: str) -> RadiographDataset:
    """Open data for all runs of a process; other data may come to lie in the same folders."""
    return open_datasets(folders)
