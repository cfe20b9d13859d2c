"""All runs of a comparison, one after the other, or one at a time on each of several devices."""

from collections.abc import Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import replace
from functools import lru_cache
from multiprocessing import active_children
from multiprocessing.queues import SimpleQueue
from pathlib import Path
from typing import Any, Protocol

import torch

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import RunRecord, kept_record, run_job
from deepchest_cli.data.dataset import RadiographDataset, open_dataset
from deepchest_cli.data.workers import CONTEXT, begin_worker, start_tracker
from deepchest_cli.errors import DeepChestError, InterruptedRunError
from deepchest_cli.interruption import StopRequest, stop_on_signal
from deepchest_cli.model.checkpoint import LAST
from deepchest_cli.training.progress import Observer, StepReport

LOOK = 0.2  # seconds between two looks whether a signal has come


class ComparisonObserver(Protocol):
    """Who wants to know how a comparison is getting on."""

    def on_progress(self, done: float, total: int) -> None:
        """Hear how many runs are done, the one under way in part."""

    def on_run(self, job: Job, record: RunRecord, done: int, total: int) -> None:
        """Hear how a run has ended."""

    def on_note(self, text: str) -> None:
        """Hear of something that the user should be told."""


def run_all(
    jobs: Sequence[Job],
    dataset: RadiographDataset,
    devices: Sequence[str],
    observer: ComparisonObserver,
) -> list[RunRecord]:
    """Train what is not trained yet and return all records in the order of the jobs.

    A single device works in this process. Raises `InterruptedRunError` with what is under way
    saved.
    """
    records = {job.folder: kept_record(job, dataset) for job in jobs}
    waiting = [job for job in jobs if records[job.folder] is None]
    for job in jobs:
        if records[job.folder] is not None:  # it was killed just before it would have done this
            (job.folder / LAST).unlink(missing_ok=True)
    count = len(jobs) - len(waiting)
    results = _one_by_one if len(devices) == 1 else _side_by_side
    watch = _Watch(observer, count, len(jobs))
    with closing(results(waiting, dataset, devices, watch)) as coming:
        for job, record in coming:
            records[job.folder] = record
            count += 1
            observer.on_run(job, record, count, len(jobs))
    return [record for job in jobs if (record := records[job.folder]) is not None]


class _Watch(Observer):
    """Tells a comparison's observer of the steps of one run after the other."""

    def __init__(self, observer: ComparisonObserver, done: int, total: int) -> None:
        self.observer, self.done, self.total = observer, done, total

    def on_step(self, report: StepReport) -> None:
        steps = report.steps * report.epochs
        self.observer.on_progress(self.done + 1 - report.remaining / max(steps, 1), self.total)

    def on_note(self, text: str) -> None:
        self.observer.on_note(text)

    def on_warning(self, text: str) -> None:
        self.observer.on_note(text)


def _one_by_one(
    jobs: Sequence[Job], dataset: RadiographDataset, devices: Sequence[str], watch: _Watch
) -> Any:
    with stop_on_signal() as stop:
        for job in jobs:
            yield job, run_job(_on(job, devices[0]), dataset, watch)
            watch.done += 1
            _end_where_asked(stop)  # a signal may have come when the run had nothing left to save


def _end_where_asked(stop: StopRequest) -> None:
    if stop.exit_code is not None:
        raise InterruptedRunError("Interrupted; the state is saved.", "", stop.exit_code)


def _side_by_side(
    jobs: Sequence[Job], dataset: RadiographDataset, devices: Sequence[str], watch: _Watch
) -> Any:
    """Give each device a process of its own, which takes one job after the other."""
    start_tracker()
    free = CONTEXT.SimpleQueue()
    for device in devices:
        free.put(device)
    left, coming = list(reversed(jobs)), dict[Future[RunRecord], Job]()
    with (
        stop_on_signal() as stop,
        ProcessPoolExecutor(len(devices), CONTEXT, _take_device, (free, len(devices))) as pool,
    ):
        try:
            while left or coming:
                while left and len(coming) < len(devices):  # none waits in a process that is to end
                    job = left.pop()
                    coming[pool.submit(_work, job, dataset.folder)] = job
                for future in wait(coming, LOOK, FIRST_COMPLETED).done:
                    yield coming.pop(future), future.result()
                _end_where_asked(stop)
        except BrokenProcessPool as error:
            _end_where_asked(stop)  # a signal to all processes at once
            raise DeepChestError(
                "A training process has ended all of a sudden: killed, perhaps for want of memory.",
                "Go on with --resume, with fewer --devices or a smaller --batch-size.",
            ) from error
        except BaseException:
            _end(coming)
            raise


def _end(coming: Iterable[Future[RunRecord]]) -> None:
    """Ask the runs under way to save and end, and wait until they have."""
    for worker in active_children():
        worker.terminate()
    wait(coming)


_mine: list[str] = []  # the device of this process


def _take_device(free: "SimpleQueue[str]", processes: int) -> None:
    begin_worker()
    # more threads than cores wait for each other: ten times as slow
    torch.set_num_threads(max(torch.get_num_threads() // processes, 1))
    _mine.append(free.get())


def _work(job: Job, data: Path) -> RunRecord:
    return run_job(_on(job, _mine[0]), _opened(data), Observer())


@lru_cache(maxsize=1)
def _opened(data: Path) -> RadiographDataset:
    return open_dataset(data)


def _on(job: Job, device: str) -> Job:
    return replace(job, config=replace(job.config, device=device))
