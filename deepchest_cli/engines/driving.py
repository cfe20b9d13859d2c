"""Handing tasks to an engine, whatever becomes of its processes, devices and machines."""

import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from deepchest_cli.engines.base import Engine
from deepchest_cli.engines.child import KilledWorkerError, LostWorkerError
from deepchest_cli.engines.task import Task
from deepchest_cli.errors import DeepChestError, InterruptedRunError, LostDeviceError
from deepchest_cli.interruption import StopRequest, stop_on_signal

INTERRUPTED = "Interrupted; the state is saved."
POLL_SECONDS = 0.2  # between two looks at signals and progress
STOP_SECONDS = 60.0  # for tasks on other machines to save their state

_AGAIN = object()  # instead of an outcome: the task waits again

Outcome = tuple[Task, Any]


def drive(
    tasks: Sequence[Task],
    engine: Engine,
    progress: Callable[[float], None],
    warn: Callable[[str], None],
) -> Generator[Outcome, None, None]:
    """Complete tasks, and yield each with its result, or the error that ended it, as they end.

    A task whose process or machine was killed is begun again, and so is, once, one whose device has
    failed. progress: receives what is done of the tasks that are running, in tasks. Whatever ends
    the generator, the tasks that run have saved their state then, and the session is over.

    Raises `InterruptedRunError` after a signal, and `LostDeviceError` where no device is left.
    """
    with stop_on_signal() as stop:
        driver = _Driver(deque(tasks), engine, warn)
        engine.moved = lambda: progress(driver.share_done)
        try:
            while driver.has_work:
                driver.begin()
                yield from driver.ended(stop)
                progress(driver.share_done)
                _raise_if_stopped(stop)
        finally:
            engine.moved = lambda: None
            driver.stop()


def _raise_if_stopped(stop: StopRequest) -> None:
    if stop.exit_code is not None:
        raise InterruptedRunError(INTERRUPTED, "", stop.exit_code)


@dataclass
class _History:
    """The devices that a task has lost, and its kills since it last got further."""

    lost: set[str] = field(default_factory=set)
    kills: int = 0
    share: float = 0.0  # the largest at a kill


class _Driver:
    def __init__(self, waiting: deque[Task], engine: Engine, warn: Callable[[str], None]) -> None:
        self.waiting, self.engine, self.warn = waiting, engine, warn
        self.session = engine.session
        self.several = engine.slots != 1
        self.begun: set[Task] = set()
        self.futures: dict[Future[Any], Task] = {}
        self.histories = {task.key: _History() for task in waiting}

    @property
    def has_work(self) -> bool:
        return bool(self.waiting or self.futures)

    @property
    def share_done(self) -> float:
        """What is done of the running tasks, in tasks."""
        return sum(self.engine.share(task) for task in self.begun)

    def begin(self) -> None:
        """Submit what the engine takes."""
        while self.waiting and (self.engine.slots is None or len(self.begun) < self.engine.slots):
            task = self.waiting.popleft()
            self.begun.add(task)
            self.futures[self.engine.submit(task)] = task

    def ended(self, stop: StopRequest) -> Iterator[Outcome]:
        """Wait a moment, and yield what has ended; what was killed waits again."""
        self.engine.attend()
        if self.session is not None:
            self.session.check()
        for future in wait(self.futures, POLL_SECONDS, FIRST_COMPLETED).done:
            task = self.futures.pop(future)
            share = self.engine.share(task)
            self.begun.remove(task)
            try:
                outcome = future.result()
            except LostDeviceError as error:
                outcome = self._lost(task, error)
            except KilledWorkerError as error:
                _raise_if_stopped(stop)  # a signal to all processes at once
                outcome = self._killed(task, str(error), share, error.limit)
            except InterruptedRunError:
                _raise_if_stopped(stop)
                if not self.engine.survives_interruption:
                    raise
                how = "a signal has interrupted it on its worker"
                outcome = self._killed(task, how, share, LostWorkerError.limit)
            except Exception as error:
                outcome = error
            if outcome is not _AGAIN:
                yield task, outcome

    def _lost(self, task: Task, error: LostDeviceError) -> Any:
        """Begin a task again on another device, unless it is the second one."""
        gone, history = self.engine.retire(task), self.histories[task.key]
        history.lost.add(gone.device)
        again = len(history.lost) == 1  # several processes may share a device
        if again:
            self.waiting.appendleft(task)
        if self.waiting and self.engine.slots == 0:
            left = " No other device is left." if self.several else ""
            raise LostDeviceError(f"{task.name}: {error.message}{left}")
        ended = f"{task.name}: {error.message} {gone.use}"
        if again:
            self.warn(f"{ended}, and the job goes on {gone.where}.")
            return _AGAIN
        self.warn(
            f"{ended}. It is the second device that fails in this job, which counts as failed."
        )
        return error

    def _killed(self, task: Task, how: str, share: float, limit: int) -> Any:
        """Begin a task again, unless it is killed again and again at the same place."""
        history = self.histories[task.key]
        history.kills = 1 if share > history.share else history.kills + 1
        history.share = max(share, history.share)
        if history.kills < limit:
            self.waiting.appendleft(task)
            self.warn(f"{task.name}: {how}; the job goes on in another process.")
            return _AGAIN
        return DeepChestError(
            f"{task.name} was killed {history.kills} times without getting further, perhaps for "
            f"lack of memory: {how}.",
            "Give it more memory: run fewer jobs at a time on a machine, or make them smaller.",
        )

    def stop(self) -> None:
        """Let the running tasks save their state and end; after this the session is over.

        Those on other machines are waited for a minute: more time batch systems seldom leave.
        """
        if self.futures:
            if self.session is not None:
                self.session.stop()
            self.engine.stop()
            with suppress(DeepChestError):  # the engine itself has gone; the tasks end all the same
                deadline = time.monotonic() + STOP_SECONDS
                while wait(self.futures, POLL_SECONDS).not_done:
                    self.engine.attend()
                    if self.engine.survives_interruption and time.monotonic() > deadline:
                        self.warn("Some tasks have not ended yet; what they save counts as well.")
                        return
