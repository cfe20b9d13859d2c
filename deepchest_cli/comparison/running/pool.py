"""Jobs on several devices: a process for each, and what happens when one of them fails."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import lru_cache
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

from deepchest_cli.comparison.running.jobs import Job
from deepchest_cli.comparison.running.run import RunRecord, complete_job, read_record
from deepchest_cli.data.dataset import RadiographDataset
from deepchest_cli.data.merging import open_datasets
from deepchest_cli.engines.child import CONTEXT, Worker, start_tracker
from deepchest_cli.errors import LostDeviceError
from deepchest_cli.training.progress import Observer, StepReport

POLL_SECONDS = 0.2  # between two checks for a signal


@dataclass(eq=False)
class Slot:
    """A device, its process, and the job that this is working on."""

    device: str
    worker: Worker | None = None
    job: Job | None = None
    share_done: Any = field(default_factory=lambda: CONTEXT.RawValue("d"))  # of the job, in 0 to 1


class Pool:
    """Completes jobs on several devices, one at a time on each.

    A device that fails is removed from `devices`, and its job is tried once on another one. A run
    that fails costs its process: the next one finds memory and device as at the start.
    """

    def __init__(
        self,
        jobs: Sequence[Job],
        folders: tuple[str, ...],
        devices: list[str],
        warn: Callable[[str], None],
    ) -> None:
        start_tracker()
        self.waiting, self.folders, self.devices, self.warn = list(jobs), folders, devices, warn
        self.processes = len(devices)
        self.slots = [Slot(device) for device in devices]
        self.lost: dict[Path, set[str]] = {}  # the devices that a job has lost, by its folder

    @property
    def has_work(self) -> bool:
        """Whether a job is waiting or running."""
        return bool(self.waiting) or any(slot.job for slot in self.slots)

    @property
    def share_done(self) -> float:
        """What is done of the running jobs, in jobs."""
        return sum(float(slot.share_done.value) for slot in self.slots if slot.job)

    def advance(self) -> Iterator[tuple[Job, RunRecord]]:
        """Begin what can begin, and yield what has ended meanwhile.

        Raises `KilledWorkerError` where a process was killed, and `LostDeviceError` where no device
        is left for what is waiting.
        """
        busy = {}
        for slot in self.slots:
            if slot.job is None and self.waiting:  # a stop must not leave queued jobs
                self._begin(slot, self.waiting.pop(0))
            if slot.job is not None and slot.worker is not None:
                busy[slot.worker.connection] = slot, slot.worker, slot.job
        for connection in wait(list(busy), POLL_SECONDS):
            slot, worker, job = busy[connection]  # type: ignore[index]
            slot.job = None
            try:
                record: RunRecord | None = worker.result()
            except LostDeviceError as error:
                record = self._retire(slot, job, error)
            if record is None:
                continue
            if record.status == "failed" and slot.worker is not None:
                slot.worker.kill()
                slot.worker = None
            yield job, record

    def _begin(self, slot: Slot, job: Job) -> None:
        if slot.worker is None:
            context = (slot.device, self.folders, self.processes, slot.share_done)
            slot.worker = Worker(_work, *context)
        slot.job, slot.share_done.value = job, 0
        slot.worker.submit(job)

    def _retire(self, slot: Slot, job: Job, error: LostDeviceError) -> RunRecord | None:
        """Go on without a device; return the record of a job that has now lost two."""
        lost = self.lost.setdefault(job.folder, set())
        lost.add(slot.device)
        again = len(lost) == 1  # several processes may share a device
        if slot.worker is not None:
            slot.worker.kill()
        slot.worker = None
        self.slots.remove(slot)
        self.devices.remove(slot.device)
        if again:
            self.waiting.insert(0, job)
        if self.waiting and not self.slots:
            raise LostDeviceError(f"{job.name}: {error.message} No other device is left.")
        shared = any(other.device == slot.device for other in self.slots)
        use = "is used by one process less" if shared else "is not used any more"
        ended = f"{job.name}: {error.message} {slot.device} {use}"
        if again:
            where = "in another process" if shared else "on another device"
            self.warn(f"{ended}, and the run goes on {where}.")
            return None
        self.warn(f"{ended}. It is the second device in this run, which counts as failed.")
        written = read_record(job.folder)  # by the process that has raised the error
        if written is None:
            raise error
        return replace(written, status="failed", error=error.message)

    def close(self) -> None:
        """Let the current runs save their state, and end all processes."""
        workers = [(slot.worker, slot.job is not None) for slot in self.slots if slot.worker]
        for worker, busy in workers:
            if busy:
                worker.process.terminate()
        for worker, busy in workers:
            worker.end(busy)


class _SharedProgress(Observer):
    """Tells the parent how much of a run is done."""

    def __init__(self, share_done: Any) -> None:
        self.share_done = share_done

    def on_step(self, report: StepReport) -> None:
        self.share_done.value = report.share_done


def _work(
    job: Job, device: str, folders: tuple[str, ...], processes: int, share_done: Any
) -> RunRecord:
    dataset = _begin_process(folders, processes)
    return complete_job(job.on(device), dataset, _SharedProgress(share_done))


@lru_cache(maxsize=1)
def _begin_process(folders: tuple[str, ...], processes: int) -> RadiographDataset:
    # with more threads than cores, training is ten times as slow
    torch.set_num_threads(max(torch.get_num_threads() // processes, 1))
    return open_datasets(folders)
