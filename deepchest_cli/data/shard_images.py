"""The images of shards, mapped into memory and copied a batch at a time.

A page fault reads one page and those around it that the system guesses: storage has one request at
a time to work on, and most of what it reads is not needed. Where a batch causes major page faults,
the images of the following ones are prefetched (madvise(2), MADV_WILLNEED) before they are copied.
"""

import mmap
import resource
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UnreadableShardError

Bytes = NDArray[np.uint8]
REQUEST_BYTES = 128 * 1024  # of a longer range, Linux reads no more than its readahead
PREFETCH_IMAGES = 256  # at a time: all of a batch, not all of a data set
MIN_INTERVAL, MAX_INTERVAL = 32, 1024  # batches that are prefetched until one is tried without
THREAD = getattr(resource, "RUSAGE_THREAD", resource.RUSAGE_SELF)


@dataclass(frozen=True)
class Shard:
    """The images of a file, mapped into memory."""

    path: Path
    images: Bytes  # (n, S, S)
    bytes: int  # of the file
    mapping: mmap.mmap | None = None  # of the whole file; None: nothing is prefetched
    start: int = 0  # of the first image in the file

    def __reduce__(self) -> tuple[Any, ...]:
        """Let a copy, or another process, map the file for itself."""
        if self.mapping is None:
            return Shard, (self.path, self.images, self.bytes)
        return map_shard, (self.path.absolute(), self.bytes, self.start, self.images.shape)

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

    def prefetch(self, place: int) -> None:
        """Let the system begin to read an image, unless it is in memory."""
        if self.mapping is None:
            return
        image = self.images[place].nbytes
        first = self.start + place * image
        end = first + image
        first -= first % mmap.PAGESIZE
        for at in range(first, end, REQUEST_BYTES):
            self.mapping.madvise(mmap.MADV_WILLNEED, at, min(REQUEST_BYTES, end - at))


def map_shard(path: Path, length: int, start: int, shape: tuple[int, int, int]) -> Shard:
    """Map a file of `length` bytes with images from byte `start` on; raises `OSError`."""
    with path.open("rb") as file:
        mapping = mmap.mmap(file.fileno(), length, access=mmap.ACCESS_READ)
    images = np.frombuffer(mapping, np.uint8, int(np.prod(shape)), start).reshape(shape)
    return Shard(path, images, length, mapping, start)


class ImageCopies:
    """Copies images of shards, and prefetches them while they are not in memory.

    For images in memory the calls would cost time. So a batch is begun without; where it causes a
    major page fault, the rest of it is prefetched, and so are the next 32 batches as a whole. Then
    another one is begun without: where that faults too, 64 are prefetched, and up to 1024.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self.shards = shards
        self.prefetches_left = 0  # batches
        self.interval = MIN_INTERVAL

    def copy(self, numbers: list[int], places: list[int], out: Bytes) -> None:
        """Copy images, given by the numbers of their shards and their places there, into `out`.

        Raises `UnreadableShardError` where a file is no longer what was opened.
        """
        for number in set(numbers):
            self.shards[number].refuse_cut()
        shards = [self.shards[number] for number in numbers]
        for first in range(0, len(numbers), PREFETCH_IMAGES):
            some = slice(first, first + PREFETCH_IMAGES)
            self._copy_some(shards[some], places[some], out[some])

    def _copy_some(self, shards: list[Shard], places: list[int], out: Bytes) -> None:
        if self.prefetches_left:
            self.prefetches_left -= 1
            self._prefetch(shards, places)
            _copy(shards, places, out)
            return
        faults = _major_faults()
        _copy(shards[:1], places[:1], out[:1])
        if _major_faults() > faults:
            self._prefetch(shards[1:], places[1:])
        _copy(shards[1:], places[1:], out[1:])
        if _major_faults() > faults:
            self.prefetches_left, self.interval = self.interval, 2 * self.interval
            self.interval = min(self.interval, MAX_INTERVAL)
        else:
            self.interval = MIN_INTERVAL

    def _prefetch(self, shards: list[Shard], places: list[int]) -> None:
        for shard, place in zip(shards, places, strict=True):
            shard.prefetch(place)


def _copy(shards: list[Shard], places: list[int], out: Bytes) -> None:
    for i, shard in enumerate(shards):
        out[i] = shard.images[places[i]]


def _major_faults() -> int:
    """Return how many times this thread has waited for a page to be read from storage."""
    return resource.getrusage(THREAD).ru_majflt
