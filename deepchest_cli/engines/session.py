"""A driver and its tasks, which see one folder and perhaps nothing else of each other.

A session is a file with a random token. A task goes on while it is there with its own token: its
removal asks all tasks to save and to end, and so does the token of a driver that was started after
the first one was killed. A driver that is only gone stops nothing. No clocks are compared.
"""

import os
import secrets
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deepchest_cli.engines.task import Task, Work
from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import atomic_write

FOLDER, TOKEN = ".engine", "session"
LOOK_SECONDS = 0.5  # between two looks at the token
WRITE_SECONDS = 1.0  # between two reports of a task
LOOKS = 2  # in a row that must miss the token: network file systems lose sight of a file


class Session:
    """The driver's side; `open_session` makes it."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.token = folder.resolve(), secrets.token_hex(16)
        self._shares: dict[str, float] = {}
        self._stopped = False

    def call(self, task: Task, device: str | None) -> "Call":
        """Return a task as one of this session's."""
        return Call(task.work, task.argument, device, self.folder, self.token, task.key)

    def share(self, key: str) -> float:
        """Return what a task has last reported, in 0 to 1."""
        with suppress(OSError, ValueError):  # no report yet, or one that is being replaced
            self._shares[key] = float(_share_file(self.folder, key).read_text("ascii"))
        return self._shares.get(key, 0.0)

    def stop(self) -> None:
        """Ask all tasks to save their state and to end; works on a full disk, too."""
        self._stopped = True
        if token_in(self.folder) == self.token:
            (self.folder / FOLDER / TOKEN).unlink(missing_ok=True)

    def check(self) -> None:
        """Raise `DeepChestError` where another driver has taken the folder over."""
        found = None if self._stopped else token_in(self.folder)
        if found not in (None, self.token):
            raise DeepChestError(
                f"Another deepchest process has begun to hand out the work in {self.folder}.",
                "Let one of them go on: what this one has handed out stops and is kept.",
            )


@contextmanager
def open_session(folder: Path) -> Iterator[Session]:
    """Take over a folder, and yield its session; afterwards no trace of it is left."""
    session = Session(folder)
    place = session.folder / FOLDER
    shutil.rmtree(place, ignore_errors=True)  # of a driver that was killed
    place.mkdir(parents=True, exist_ok=True)
    with atomic_write(place / TOKEN) as temporary:
        temporary.write_text(session.token, "ascii")
    try:
        yield session
    finally:
        ours = token_in(session.folder) in (None, session.token)
        session.stop()
        if ours:
            shutil.rmtree(place, ignore_errors=True)


def token_in(folder: Path) -> str | None:
    """Return the token of a folder's session; None where there is none."""
    try:
        return (folder / FOLDER / TOKEN).read_text("ascii")
    except (OSError, ValueError):
        return None


def _share_file(folder: Path, key: str) -> Path:
    return folder / FOLDER / f"{key}.share"


@dataclass(frozen=True)
class Call:
    """A task as it travels to the process that runs it."""

    work: Work
    argument: Any
    device: str | None
    folder: Path  # of the session
    token: str
    key: str


def run_attended(call: Call) -> Any:
    """Run a task in the main thread of this process, which is another one than the driver's.

    When the session has ended, SIGTERM is sent to this process, once, so that the task saves its
    state as under a batch system; the caller handles it, as `engines.child` does.
    """
    attendant = _Attendant(call)
    thread = threading.Thread(target=attendant.run, daemon=True)
    thread.start()
    try:
        return call.work(call.argument, call.device, attendant.report)
    finally:
        attendant.ended.set()
        thread.join()


class _Attendant:
    """Writes what a task reports, and looks whether its session goes on."""

    def __init__(self, call: Call) -> None:
        self.call = call
        self.ended = threading.Event()
        self.share: float | None = None
        self.written: float | None = None
        self.write_at = 0.0
        self.misses = 0

    def report(self, share: float) -> None:
        """Receive the share that is done; costs nothing."""
        self.share = share

    def run(self) -> None:
        """Attend until the task has ended, or has been asked to end."""
        while not self.ended.wait(LOOK_SECONDS):
            self._write()
            if self._is_over():
                os.kill(os.getpid(), signal.SIGTERM)
                return

    def _is_over(self) -> bool:
        try:
            found = (self.call.folder / FOLDER / TOKEN).read_text("ascii")
        except FileNotFoundError:
            self.misses += 1
            return self.misses >= LOOKS
        except (OSError, ValueError):  # a file system that does not answer says nothing
            return False
        self.misses = 0
        return found != self.call.token

    def _write(self) -> None:
        if self.share == self.written or time.monotonic() < self.write_at:
            return
        share, self.write_at = self.share, time.monotonic() + WRITE_SECONDS
        with suppress(OSError):  # a disk that is full: the task itself will say so
            with atomic_write(_share_file(self.call.folder, self.call.key)) as temporary:
                temporary.write_text(repr(share), "ascii")
            self.written = share
