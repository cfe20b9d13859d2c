"""Worker processes that end with their parent, whatever ends it."""

import multiprocessing
import os
import signal
import threading
from multiprocessing.context import SpawnContext

# a fresh interpreter: forking a process that has run threads can deadlock
CONTEXT: SpawnContext = multiprocessing.get_context("spawn")


def begin_worker() -> None:
    """Set up this worker process: Ctrl-C is the parent's to handle, and its end is ours."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    """A worker whose parent is killed would wait for work for ever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
