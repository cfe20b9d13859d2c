"""Attempts at a run: the folder that one writes into, and how its result takes the run's place.

The folder of a run appears whole, with its record and its predictions, by renaming that of the
attempt that has finished. Until then each attempt first renames what the one before has left to a
name of its own, so that a process that was cut off, on another machine for instance, finds its
folder gone and cannot write into a run that somebody else has taken over. Nothing depends on
clocks; a lock, which not every network file system has, only spares a process that still works.
"""

import errno
import re
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from deepchest_cli.errors import DeepChestError
from deepchest_cli.files import LockedFolderError, locked

WAIT_SECONDS = 30.0  # for a process that has been asked to stop and is saving
POLL_SECONDS = 0.5
# what a process sees that was a moment later than another one
LATE = (errno.ENOENT, errno.EEXIST, errno.ENOTEMPTY, errno.ESTALE)


class TakenOverError(DeepChestError):
    """Another process goes on with a run; nothing more of this one's is written."""


def attempts_at(place: Path) -> list[Path]:
    """Return the folders of unfinished attempts at the run in `place`, the newest last."""
    pattern = re.compile(re.escape(place.name) + r"\.attempt-(\d+)")
    paths = place.parent.iterdir() if place.parent.is_dir() else ()
    found = [(int(match[1]), path) for path in paths if (match := pattern.fullmatch(path.name))]
    return [path for _, path in sorted(found)]


@contextmanager
def attempt_at(place: Path, cut_off: bool = False) -> Iterator[Path | None]:
    """Yield the folder of a new attempt at a run; None where the run has finished meanwhile.

    It holds what earlier attempts have left. cut_off: take over even from a process that holds its
    lock after half a minute; without it, that raises `LockedFolderError`.
    """
    place.parent.mkdir(parents=True, exist_ok=True)
    with ExitStack() as held:
        folder = None
        while folder is None and not place.is_dir():
            try:
                folder = _begin(place, cut_off, held)
            except OSError as error:
                if error.errno not in LATE:
                    raise
                held.close()  # the lock of a folder that has another name by now
        if folder is not None and place.is_dir():
            shutil.rmtree(folder, ignore_errors=True)
            folder = None
        yield folder


def _begin(place: Path, cut_off: bool, held: ExitStack) -> Path:
    before = attempts_at(place)
    folder = _next_attempt(place, before)
    if before:
        _lock(before[-1], cut_off, held)
        before[-1].rename(folder)
    else:
        folder.mkdir()
        _lock(folder, cut_off, held)
    return folder


def _next_attempt(place: Path, before: list[Path]) -> Path:
    number = int(before[-1].name.rpartition("-")[2]) + 1 if before else 1
    return place.with_name(f"{place.name}.attempt-{number}")


def _lock(folder: Path, cut_off: bool, held: ExitStack) -> None:
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        try:
            held.enter_context(locked(folder))
        except LockedFolderError:
            if time.monotonic() < deadline:
                time.sleep(POLL_SECONDS)
                continue
            if not cut_off:
                raise
        return


def finish(folder: Path, place: Path) -> None:
    """Let an attempt's folder take the place of its run, unless another one has.

    Raises `TakenOverError` where the attempt is not ours any more.
    """
    try:
        folder.rename(place)
    except OSError as error:
        if error.errno not in LATE:
            raise
        if not place.is_dir():
            raise taken_over(folder) from error
    for other in attempts_at(place):
        shutil.rmtree(other, ignore_errors=True)


def taken_over(folder: Path) -> TakenOverError:
    """Return the error of an attempt whose folder is gone."""
    return TakenOverError(
        f"Another process has taken over the run of {folder}, or the folder was removed.",
        "Look whether one job was started twice. Started again, it goes on with what was saved.",
    )


def reopen(place: Path) -> None:
    """Make an attempt of a folder that takes a run's place and is not finished."""
    try:
        place.rename(_next_attempt(place, attempts_at(place)))
    except OSError as error:  # another process was quicker
        if error.errno not in LATE:
            raise
