"""What is run on Dask's workers: a check of what a worker has, and tasks in a process of their own.

Tasks in threads receive no signals and cannot be killed alone: a worker keeps a child process for
them, in which torch is imported once. Only errors, names and numbers travel; a worker may have
another version of this package.
"""

import errno
import multiprocessing
import os
import secrets
import signal
import threading
import time
from importlib.metadata import version
from multiprocessing.util import Finalize
from pathlib import Path
from typing import Any

from deepchest_cli.engines.child import Worker
from deepchest_cli.engines.session import FOLDER, Call, run_attended, token_in
from deepchest_cli.engines.versions import program_versions
from deepchest_cli.files import is_full, sha256_of

SIGHT_SECONDS = 15.0  # until a network file system must show what another machine has written
LOOK_SECONDS = 0.5  # between two looks whether the worker is being closed
GRACE_SECONDS = 30.0  # for a task to save its state when its worker has gone
TRIAL = bytes(1 << 16)  # what is written to see whether a folder can be written to


def versions() -> dict[str, str]:
    """Return what must be the same on all machines."""
    # torch need not be imported for its version
    return {**program_versions(), "torch": version("torch").partition("+")[0]}


def problem_of(
    expected: dict[str, str], folder: str, token: str, files: list[tuple[str, str]]
) -> tuple[str, str] | None:
    """Return what this worker lacks and how to mend it; None where it can be used.

    expected: `versions()` of the driver. folder: that of the session with the token. files: paths
    with their SHA-256.
    """
    found = versions()
    for name, wanted in expected.items():
        if found.get(name) != wanted:
            return (
                f"has {name} {found.get(name)} instead of {wanted}",
                "Install the same deepchest, Python and torch for all workers and here.",
            )
    return _folder_problem(Path(folder), token) or _files_problem(files)


def _folder_problem(folder: Path, token: str) -> tuple[str, str] | None:
    mount = f"Mount the file system that holds {folder} at that path on every machine."
    deadline = time.monotonic() + SIGHT_SECONDS
    while token_in(folder) != token:
        if time.monotonic() > deadline:
            if folder.is_dir():
                return f"has another folder {folder} than this machine", mount
            return f"has no folder {folder}", mount
        time.sleep(0.5)
    trial = folder / FOLDER / f"trial-{secrets.token_hex(8)}"
    try:
        try:
            with trial.open("wb") as file:
                file.write(TRIAL)
                os.fsync(file.fileno())
        finally:
            trial.unlink(missing_ok=True)
    except OSError as error:
        if is_full(error):
            return f"finds no space left in {folder}", f"Free space in {folder}."
        why = "is read-only" if error.errno == errno.EROFS else f"gives: {error.strerror}"
        return (
            f"cannot write to {folder}, which {why}",
            f"Let the user of the worker write to {folder}, and mount it for writing.",
        )
    return None


def _files_problem(files: list[tuple[str, str]]) -> tuple[str, str] | None:
    for name, sha256 in files:
        path = Path(name)
        try:
            if sha256_of(path) == sha256:
                continue
            return f"has another {name} than this machine", "Use the same data on every machine."
        except OSError as error:
            return (
                f"cannot read {name}: {error.strerror}",
                f"Make {path.parent} available at that path on every machine.",
            )
    return None


class _Keeper:
    """Keeps this worker's child process from task to task."""

    def __init__(self) -> None:
        self.lock = threading.Lock()  # one task at a time, whatever the number of threads
        self.child: Worker | None = None
        # Python waits for its children when it ends
        Finalize(None, self._end, exitpriority=10)

    def complete(self, call: Call, worker: Any) -> Any:
        with self.lock:
            if self.child is None or not self.child.is_alive:
                self.child = _new_child()
            child = self.child
            try:
                child.submit(call)
                asked = False
                while not child.has_result(LOOK_SECONDS):
                    if not asked and worker.status.name not in ("running", "paused"):
                        child.process.terminate()  # a worker that closes leaves a few seconds
                        asked = True
                return child.result()
            finally:
                if not child.is_alive:
                    child.kill()
                    self.child = None

    def _end(self) -> None:
        if self.child is not None:
            self.child.process.terminate()


def _new_child() -> Worker:
    process = multiprocessing.current_process()
    daemon = process.daemon
    process.daemon = False  # Dask's workers are daemons, which may not have children
    try:
        return Worker(run_attended, grace=GRACE_SECONDS)
    finally:
        process.daemon = daemon


_keeper = _Keeper()


def complete_task(call: Call) -> Any:
    """Complete a task in this worker's child process; its errors are raised here."""
    from distributed import get_worker

    return _keeper.complete(call, get_worker())


def dask_setup(worker: Any) -> None:
    """Leave signals to the process that has started this worker; Dask calls it in a preload."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
