"""Worker processes that end with their parent, whatever ends it."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.context import SpawnContext

from deepchest_cli.interruption import BATCH_SIGNALS

# a fresh interpreter: forking a process that has run threads can deadlock
CONTEXT: SpawnContext = multiprocessing.get_context("spawn")


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


def begin_worker() -> None:
    """Set up this worker process: signals are the parent's to handle, and its end is ours.

    What the parent ends it by, SIGTERM, is left.
    """
    for number in (signal.SIGINT, *BATCH_SIGNALS):
        signal.signal(number, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
