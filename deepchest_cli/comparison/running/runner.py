"""Training of all runs of a comparison: in sequence, or in parallel on several devices."""

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from multiprocessing import active_children
from multiprocessing.queues import SimpleQueue
from typing import Any, Protocol

import torch

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import RunRecord, final_record, train_job
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.data.workers import CONTEXT, begin_worker, start_tracker
from deepchest_cli.errors import DeepChestError, InterruptedRunError
from deepchest_cli.interruption import StopRequest, stop_on_signal
from deepchest_cli.model.checkpoint_format import LAST
from deepchest_cli.training.progress import Observer, StepReport

POLL_SECONDS = 0.2  # between two checks for a signal


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
    devices: Sequence[str],
    observer: ComparisonObserver,
) -> list[RunRecord]:
    """Train the runs that are not final and return all records in the order of the jobs.

    A single device is used from this process. Raises `InterruptedRunError` with the state of
    current runs saved.
    """
    records = {job.folder: final_record(job, dataset) for job in jobs}
    missing = [job for job in jobs if records[job.folder] is None]
    for job in jobs:
        if records[job.folder] is not None:  # there if killed between the record and this removal
            (job.folder / LAST).unlink(missing_ok=True)
    count = len(jobs) - len(missing)
    train = _in_sequence if len(devices) == 1 else _in_parallel
    progress = _RunProgress(observer, count, len(jobs))
    with closing(train(missing, dataset, devices, progress)) as results:
        for job, record in results:
            records[job.folder] = record
            count += 1
            observer.on_run(job, record, count, len(jobs))
    return [record for job in jobs if (record := records[job.folder]) is not None]


class _RunProgress(Observer):
    """The observer of single runs, which reports them as progress of the comparison."""

    def __init__(self, observer: ComparisonObserver, done: int, total: int) -> None:
        self.observer, self.done, self.total = observer, done, total

    def on_step(self, report: StepReport) -> None:
        steps = report.steps * report.epochs
        self.observer.on_progress(self.done + 1 - report.remaining / max(steps, 1), self.total)

    def on_note(self, text: str) -> None:
        self.observer.on_note(text)

    def on_warning(self, text: str) -> None:
        self.observer.on_note(text)


def _in_sequence(
    jobs: Sequence[Job], dataset: RadiographDataset, devices: Sequence[str], progress: _RunProgress
) -> Any:
    with stop_on_signal() as stop:
        for job in jobs:
            yield job, train_job(_on(job, devices[0]), dataset, progress)
            progress.done += 1
            _raise_if_stopped(stop)  # the signal may have come after the run had saved everything


def _raise_if_stopped(stop: StopRequest) -> None:
    if stop.exit_code is not None:
        raise InterruptedRunError("Interrupted; the state is saved.", "", stop.exit_code)


def _in_parallel(
    jobs: Sequence[Job], dataset: RadiographDataset, devices: Sequence[str], progress: _RunProgress
) -> Any:
    """Use one process for each device, with one job at a time."""
    start_tracker()
    free = CONTEXT.SimpleQueue()
    for device in devices:
        free.put(device)
    folders = tuple(str(member.folder) for member in dataset.members)
    waiting, running = list(reversed(jobs)), dict[Future[RunRecord], Job]()
    with (
        stop_on_signal() as stop,
        ProcessPoolExecutor(len(devices), CONTEXT, _take_device, (free, len(devices))) as pool,
    ):
        try:
            while waiting or running:
                while waiting and len(running) < len(devices):  # a stop must not leave queued jobs
                    job = waiting.pop()
                    running[pool.submit(_work, job, folders)] = job
                for future in wait(running, POLL_SECONDS, FIRST_COMPLETED).done:
                    yield running.pop(future), future.result()
                _raise_if_stopped(stop)
        except BrokenProcessPool as error:
            _raise_if_stopped(stop)  # a signal to all processes at once
            raise DeepChestError(
                "A training process was killed, perhaps for lack of memory.",
                "Continue with --resume, with fewer --devices or a smaller --batch-size.",
            ) from error
        except BaseException:
            _terminate(running)
            raise


def _terminate(running: Iterable[Future[RunRecord]]) -> None:
    """Let the current runs save their state and end."""
    for worker in active_children():
        worker.terminate()
    wait(running)


_process_device: list[str] = []  # of this process


def _take_device(free: "SimpleQueue[str]", processes: int) -> None:
    begin_worker()
    # with more threads than cores, training is ten times as slow
    torch.set_num_threads(max(torch.get_num_threads() // processes, 1))
    _process_device.append(free.get())


def _work(job: Job, folders: tuple[str, ...]) -> RunRecord:
    return train_job(_on(job, _process_device[0]), _open_once(folders), Observer())


@lru_cache(maxsize=1)
def _open_once(folders: tuple[str, ...]) -> RadiographDataset:
    return open_datasets(folders)


def _on(job: Job, device: str) -> Job:
    return replace(job, config=replace(job.config, device=device))
