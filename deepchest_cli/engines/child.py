"""Worker processes that end with their parent, whatever ends it."""

import ctypes
import multiprocessing
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from deepchest_cli.errors import DeepChestError
from deepchest_cli.interruption import BATCH_SIGNALS, stop_on_signal


class _Process(SpawnProcess):
    """A process that does not run the program again which has started it."""

    @staticmethod
    def _Popen(process_obj: Any) -> Any:  # noqa: N802  # multiprocessing's name
        # it would import the main module, and a script without `if __name__ == "__main__"` would
        # begin anew; what our processes run is in modules of their own
        main = sys.modules["__main__"]
        names = [name for name in ("__file__", "__spec__") if hasattr(main, name)]
        values = [getattr(main, name) for name in names]
        for name in names:
            setattr(main, name, None)
        try:
            return SpawnProcess._Popen(process_obj)
        finally:
            for name, value in zip(names, values, strict=True):
                setattr(main, name, value)


class _Context(SpawnContext):
    Process = _Process


# a fresh interpreter: forking a process that has run threads can deadlock
CONTEXT: SpawnContext = _Context()
# glibc's numbers of options; how much free memory is kept, and from what size on none is: the
# largest that can be set
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
KEPT_BYTES, LARGE_BYTES = 2**30, 2**25
REAP_SECONDS = 5.0  # for the end of a killed process, which a device's driver may delay


def start_tracker() -> None:
    """Start Python's own process that tracks what processes share, before there are any.

    A signal to all processes would end it. It keeps those blocked that are blocked meanwhile.
    """
    if hasattr(signal, "pthread_sigmask"):
        from multiprocessing import resource_tracker

        before = signal.pthread_sigmask(signal.SIG_BLOCK, BATCH_SIGNALS)
        try:
            resource_tracker.ensure_running()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)


def keep_freed_memory() -> None:
    """Let glibc keep what a training step frees for the next step.

    In a process that has just begun it gives that back to the system, which then clears each page
    again: training of a small network on a CPU had 0.7 of its rate. Sources: mallopt(3).
    """
    with suppress(AttributeError, OSError, TypeError):  # another C library
        set_option = ctypes.CDLL(None).mallopt
        set_option(M_MMAP_THRESHOLD, LARGE_BYTES)
        set_option(M_TRIM_THRESHOLD, KEPT_BYTES)


def begin_worker(grace: float = 0.0) -> None:
    """Set up this worker process: signals are the parent's to handle, and its end is ours.

    What the parent ends it by, SIGTERM, is left. grace: seconds to save a task's state when the
    parent has ended.
    """
    for number in (signal.SIGINT, *BATCH_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=(grace,), daemon=True).start()


def _end_with_parent(grace: float) -> None:
    """A worker whose parent is killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        if grace:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(grace)
        os._exit(1)


class KilledWorkerError(Exception):
    """A worker process has been ended from outside; the text says by what."""

    limit = 3  # kills of a task that gets no further, until it is given up


class LostWorkerError(KilledWorkerError):
    """A machine has gone away, which says little about the task that it was working on."""

    limit = 12


class Worker:
    """A process that works on one task at a time and can be killed without harm to others."""

    def __init__(self, work: Callable[..., Any], *context: Any, grace: float = 0.0) -> None:
        """work: a function of a module, called as `work(task, *context)`; grace: in seconds."""
        self.has_ended = False  # after the last result
        self.connection, theirs = CONTEXT.Pipe()
        self.process = CONTEXT.Process(target=_serve, args=(theirs, grace, work, *context))
        self.process.start()
        theirs.close()  # so that the end of the process ends the connection

    @property
    def is_alive(self) -> bool:
        """Whether the process can be given a task."""
        return not self.has_ended and self.process.is_alive()

    def submit(self, task: Any) -> None:
        """Begin a task; `connection` has something to read once it has ended."""
        try:
            self.connection.send(task)
        except OSError as error:
            raise self._killed() from error

    def has_result(self, seconds: float) -> bool:
        """Wait for the end of the task, or of the process, for so long at most."""
        try:
            return self.connection.poll(seconds)
        except OSError:
            return True

    def result(self) -> Any:
        """Return what the task returned, or raise what it raised.

        Raises `KilledWorkerError` where the process has been killed. After an error, and after a
        result with a true attribute `ends_process`, the process ends (`has_ended`): another one
        finds memory and device as at the start.
        """
        try:
            value, failure, self.has_ended = self.connection.recv()
        except (EOFError, OSError) as error:
            raise self._killed() from error
        if failure is not None:
            raise failure
        return value

    def _killed(self) -> KilledWorkerError:
        self.process.join()
        code = self.process.exitcode or 0
        by = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        return KilledWorkerError(f"its process was killed ({by})")

    def kill(self) -> None:
        """End the process at once, whatever it is doing."""
        self.process.kill()
        self.connection.close()
        self.process.join(REAP_SECONDS)

    def end(self, busy: bool) -> None:
        """Let the process end; one that has been asked to (SIGTERM) may first save its work."""
        if busy:
            wait([self.connection, self.process.sentinel])
        self.connection.close()
        self.process.join()


def _serve(connection: Connection, grace: float, work: Callable[..., Any], *context: Any) -> None:
    """Work on the tasks that come, until the connection is closed, or after what ends a process.

    SIGTERM is handled during a task also where this does not: the process ends after it.
    """
    begin_worker(grace)
    keep_freed_memory()
    while True:
        try:
            task = connection.recv()
        except (EOFError, OSError):  # OSError where the last answer was not read
            return
        answer: tuple[Any, BaseException | None, bool]
        try:
            with stop_on_signal() as stop:
                value = work(task, *context)
            ends = stop.exit_code is not None or bool(getattr(value, "ends_process", False))
            answer = value, None, ends
        except BaseException as error:
            answer = None, _portable(error), True
        with suppress(OSError):  # nobody is there any more
            connection.send(answer)
        if answer[-1]:
            return


def _portable(error: BaseException) -> BaseException:
    """Return an error with its traceback, which does not travel with it.

    Where pickle cannot bring it over, another one says what it says.
    """
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError("".join(traceback.format_exception(error)))
    if not isinstance(error, DeepChestError):
        error.add_note("".join(traceback.format_exception(error)))
    return error
