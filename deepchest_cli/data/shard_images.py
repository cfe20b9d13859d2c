"""The images of shards, mapped into memory and copied a batch at a time.

A mapped page that is not in memory is waited for alone, with as many pages around it as the system
guesses: storage works on one request at a time, most of it for nothing. Where that happens, all
images of a batch are asked for before the first of them is copied.
"""

import mmap
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UnreadableShardError

Bytes = NDArray[np.uint8]
# bytes that are asked for at a time: of more, Linux takes no more than its readahead
ASKED = 128 * 1024
AT_A_TIME = 256  # images that are asked for: all of a batch, not all of a data set
FEWEST, MOST = 32, 1024  # batches that are asked for until one is tried without
THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


@dataclass(frozen=True)
class Shard:
    """The images of a file, mapped into memory."""

    path: Path
    images: Bytes  # (n, S, S)
    bytes: int  # of the file
    mapping: mmap.mmap | None = None  # of the whole file; None: nothing is asked for
    start: int = 0  # of the first image in the file

    def refuse_cut(self) -> None:
        """Raise `UnreadableShardError` unless the file is still there, as long as it was.

        The system ends a process that touches mapped memory without a file behind it.
        """
        try:
            length = self.path.stat().st_size
        except OSError as error:
            raise UnreadableShardError(
                f"Shard {self.path} can no longer be read: {error.strerror or error}.",
                "Make it readable again.",
            ) from error
        if length < self.bytes:
            raise UnreadableShardError(
                f"Shard {self.path} was cut short while it was read: it has {length} bytes, not "
                f"{self.bytes}.",
                "Run the same deepchest prepare again; it mends what is damaged.",
            )

    def ask(self, place: int) -> None:
        """Let the system begin to read an image that is not in memory."""
        if self.mapping is None:
            return
        image = self.images[place].nbytes
        first = self.start + place * image
        end = first + image
        first -= first % mmap.PAGESIZE
        for at in range(first, end, ASKED):
            self.mapping.madvise(mmap.MADV_WILLNEED, at, min(ASKED, end - at))


def map_shard(path: Path, length: int, start: int, shape: tuple[int, int, int]) -> Shard:
    """Map a file of `length` bytes with images from byte `start` on; raises `OSError`."""
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ)
    images = np.frombuffer(mapping, np.uint8, int(np.prod(shape)), start).reshape(shape)
    return Shard(path, images, length, mapping, start)


class ImageCopies:
    """Copies images of shards, and knows whether storage has to be asked for them first.

    In memory that would take time for nothing. So a batch is begun without, and where its first
    image had to be waited for, the others are asked for, and so are the next 32 batches as a whole.
    Then another one is begun without: where it has to be waited for, 64 follow, up to 1024.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self.asked_for = 0  # batches that are still asked for
        self.interval = FEWEST

    def copy(self, numbers: list[int], places: list[int], out: Bytes) -> None:
        """Copy images, given by the numbers of their shards and their places there, into `out`.

        Raises `UnreadableShardError` where a file is no longer what was opened.
        """
        for number in set(numbers):
            self.shards[number].refuse_cut()
        for first in range(0, len(numbers), AT_A_TIME):
            self._copy_some(
                numbers, places, out, range(first, min(first + AT_A_TIME, len(numbers)))
            )

    def _copy_some(self, numbers: list[int], places: list[int], out: Bytes, some: range) -> None:
        asks, waited = self.asked_for > 0, _pages_waited_for()
        if asks:
            self.asked_for -= 1
            self._ask(numbers, places, some)
        self._copy(numbers, places, out, some[:1])
        if not asks and _pages_waited_for() > waited:
            self._ask(numbers, places, some[1:])
        self._copy(numbers, places, out, some[1:])
        if asks:
            return
        if _pages_waited_for() > waited:
            self.asked_for, self.interval = self.interval, min(2 * self.interval, MOST)
        else:
            self.interval = FEWEST

    def _ask(self, numbers: list[int], places: list[int], some: range) -> None:
        for i in some:
            self.shards[numbers[i]].ask(places[i])

    def _copy(self, numbers: list[int], places: list[int], out: Bytes, some: range) -> None:
        shards = self.shards
        for i in some:
            out[i] = shards[numbers[i]].images[places[i]]


def _pages_waited_for() -> int:
    """Return how many times this thread has waited for a page of a file."""
    return resource.getrusage(THREAD).ru_majflt
