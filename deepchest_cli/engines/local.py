"""Engines of this machine: this process, or a process for each of several devices."""

from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from threading import Lock
from typing import Any

from deepchest_cli.engines.base import Engine, Retirement
from deepchest_cli.engines.child import KilledWorkerError, Worker, start_tracker
from deepchest_cli.engines.session import Session, run_attended
from deepchest_cli.engines.task import Task


class InProcess(Engine):
    """Runs a task in this thread while it is submitted; signals are the task's to handle."""

    def __init__(self, device: str | None = None) -> None:
        super().__init__()
        self.device, self.slots = device, 1
        self._share = 0.0

    def submit(self, task: Task) -> Future[Any]:
        """Run a task to its end."""
        self._report(0.0)
        future: Future[Any] = Future()
        try:
            future.set_result(task.work(task.argument, self.device, self._report))
        except Exception as error:
            future.set_exception(error)
        return future

    def _report(self, share: float) -> None:
        self._share = share
        self.moved()

    def share(self, task: Task) -> float:
        """Return the share of the only task."""
        return self._share

    def retire(self, task: Task) -> Retirement:
        """Take no more tasks."""
        self.slots = 0
        device = self.device or "the device"
        return Retirement(device, f"{device} is not used any more", "on another device")

    def stop(self) -> None:
        """Do nothing: no task runs while another function does."""

    def __exit__(self, *raised: object) -> None:
        """There are no other processes."""


@dataclass(eq=False)
class _Slot:
    """A device and its process."""

    device: str
    worker: Worker | None = None
    busy: bool = False


class DevicePool(Engine):
    """Completes tasks in processes, one for each device; a device may be named several times.

    devices: those that fail are removed from it.
    """

    slots: int
    session: Session

    def __init__(self, devices: list[str], session: Session) -> None:
        super().__init__()
        start_tracker()
        self.devices, self.session = devices, session
        self.slots = len(devices)
        self._places = [_Slot(device) for device in devices]
        self._last: dict[str, _Slot] = {}  # where a task was run, by its key
        self._begins = Lock()  # held while a task is handed over, and while all are asked to stop
        self._stopped = False
        self._threads = ThreadPoolExecutor(len(devices))

    def submit(self, task: Task) -> Future[Any]:
        """Begin a task in the process of a free device; a thread waits for its result."""
        slot = next(slot for slot in self._places if not slot.busy)
        slot.busy, self._last[task.key] = True, slot
        return self._threads.submit(self._run, slot, task)

    def _run(self, slot: _Slot, task: Task) -> Any:
        try:
            with self._begins:
                if self._stopped:
                    raise KilledWorkerError("before it began")
                if slot.worker is None or not slot.worker.is_alive:
                    slot.worker = Worker(run_attended)
                worker = slot.worker
                worker.submit(self.session.call(task, slot.device))
            return worker.result()
        except KilledWorkerError:
            slot.worker = None
            raise
        finally:
            if slot.worker is not None and slot.worker.has_ended:
                slot.worker.kill()
                slot.worker = None
            slot.busy = False

    def share(self, task: Task) -> float:
        """Return what the task has last reported."""
        return self.session.share(task.key)

    def retire(self, task: Task) -> Retirement:
        """Go on without a device, or with one process less where several share it."""
        slot = self._last[task.key]
        self._places.remove(slot)
        self.devices.remove(slot.device)
        self.slots -= 1
        if any(other.device == slot.device for other in self._places):
            use = f"{slot.device} is used by one process less"
            return Retirement(slot.device, use, "in another process")
        return Retirement(slot.device, f"{slot.device} is not used any more", "on another device")

    def stop(self) -> None:
        """Send SIGTERM to the processes that are working."""
        with self._begins:
            self._stopped = True
            for slot in self._places:
                if slot.busy and slot.worker is not None:
                    slot.worker.process.terminate()

    def __exit__(self, *raised: object) -> None:
        """End all processes, at once those that are still working."""
        self._stopped = True
        for slot in self._places:
            worker = slot.worker
            if worker is None:
                continue
            if slot.busy:
                worker.process.kill()  # the thread that waits for it closes the connection
            else:
                worker.end(busy=False)
        self._threads.shutdown()
