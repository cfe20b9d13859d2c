"""Training of all runs of a comparison: in sequence, or in parallel on several devices."""

from collections.abc import Generator, Sequence
from contextlib import closing
from typing import Protocol

from deepchest_cli.comparison.running.devices import refuse_other_kind
from deepchest_cli.comparison.running.failures import computes
from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.pool import Pool
from deepchest_cli.comparison.running.run import (
    INTERRUPTED,
    RunRecord,
    complete_job,
    final_record,
    is_complete,
    read_record,
)
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.engines.child import KilledWorkerError
from deepchest_cli.errors import DeepChestError, InterruptedRunError, LostDeviceError
from deepchest_cli.interruption import StopRequest, stop_on_signal
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.training.progress import Observer, StepReport

Results = Generator[tuple[Job, RunRecord], None, None]


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


def train_all(
    jobs: Sequence[Job],
    dataset: RadiographDataset,
    devices: list[str],
    observer: ComparisonObserver,
) -> list[RunRecord]:
    """Train and score what is missing, and return all records in the order of the jobs.

    A single device is used from this process; of several, those that fail are removed from
    `devices`. Raises `InterruptedRunError` with the state of current runs saved, and
    `LostDeviceError` where no device is left.
    """
    records = {job.folder: final_record(job, dataset) for job in jobs}
    missing = [job for job in jobs if not is_complete(job, records[job.folder])]
    # what has failed before comes last: it may stop this process, or its device, again
    missing.sort(key=lambda job: _has_failed(job, records[job.folder]))
    refuse_other_kind(jobs, records, devices)
    for job in jobs:
        if records[job.folder] is not None:  # there if killed between the record and this removal
            (job.folder / LAST).unlink(missing_ok=True)
    count = len(jobs) - len(missing)
    train = _in_sequence if len(devices) == 1 else _in_parallel
    progress = _RunProgress(observer, count, len(jobs))
    with closing(train(missing, dataset, devices, progress)) as results:
        for job, ended in results:
            records[job.folder] = ended
            count += 1
            progress.done = count
            observer.on_run(job, ended, count, len(jobs))
    return [record for job in jobs if (record := records[job.folder]) is not None]


def _has_failed(job: Job, final: RunRecord | None) -> bool:
    return final is None and read_record(job.folder) is not None


class _RunProgress(Observer):
    """The observer of single runs, which reports them as progress of the comparison."""

    def __init__(self, observer: ComparisonObserver, done: int, total: int) -> None:
        self.observer, self.done, self.total = observer, done, total

    def on_step(self, report: StepReport) -> None:
        self.move(report.share_done)

    def move(self, share: float) -> None:
        """Receive the share of the current runs that is done, in runs."""
        self.observer.on_progress(self.done + share, self.total)

    def on_note(self, text: str) -> None:
        self.observer.on_note(text)

    def on_warning(self, text: str) -> None:
        self.observer.on_note(text)


def _in_sequence(
    jobs: Sequence[Job], dataset: RadiographDataset, devices: list[str], progress: _RunProgress
) -> Results:
    (device,) = devices
    with stop_on_signal() as stop:
        for job in jobs:
            try:
                record = complete_job(job.on(device), dataset, progress)
            except LostDeviceError as error:
                raise LostDeviceError(f"{job.name}: {error.message}") from error
            yield job, record
            _raise_if_stopped(stop)  # the signal may have come after the run had saved everything
            if record.status == "failed" and not computes(device):
                raise DeepChestError(
                    f"{job.name} has stopped {device}, which this process can no longer use.",
                    "What has finished is kept. Continue with --resume, which tries that run last.",
                )


def _raise_if_stopped(stop: StopRequest) -> None:
    if stop.exit_code is not None:
        raise InterruptedRunError(INTERRUPTED, "", stop.exit_code)


def _in_parallel(
    jobs: Sequence[Job], dataset: RadiographDataset, devices: list[str], progress: _RunProgress
) -> Results:
    folders = tuple(str(member.folder) for member in dataset.members)
    with (
        stop_on_signal() as stop,
        closing(Pool(jobs, folders, devices, progress.observer.on_warning)) as pool,
    ):
        try:
            while pool.has_work:
                yield from pool.advance()
                progress.move(pool.share_done)
                _raise_if_stopped(stop)
        except KilledWorkerError as error:
            _raise_if_stopped(stop)  # a signal to all processes at once
            raise DeepChestError(
                f"A training process was killed ({error}), perhaps for lack of memory.",
                "Continue with --resume, with fewer --devices or a smaller --batch-size.",
            ) from error
