"""The images of shards, read from their open files a batch at a time.

Files are read and not mapped: a page of a mapped file that is not in memory is waited for alone,
with as many pages around it as the system guesses, and an error of storage ends the process.
"""

import os
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from deepchest_cli.errors import UnreadableShardError

Bytes = NDArray[np.uint8]
NOWAIT = getattr(os, "RWF_NOWAIT", 0)  # Linux: read what is in memory and nothing else
# bytes that are asked for at a time: of more, Linux takes no more than its readahead, which is
# 128 KiB in whole pages unless it is set otherwise
ASKED = 64 * 1024
AT_A_TIME = 256  # images that are asked for: all of a batch, not all of a data set


@dataclass(frozen=True, eq=False)
class Shard:
    """The images of a file, which is kept open."""

    path: Path
    length: int  # bytes of the file
    size: int  # height and width of the images in pixels
    start: int  # of the first image in the file, in bytes
    descriptor: int

    def refuse_missing(self) -> None:
        """Raise `UnreadableShardError` unless the file is still there, as long as it was."""
        try:
            length = self.path.stat().st_size
        except OSError as error:
            raise self._unreadable(error) from error
        if length < self.length:
            raise self._cut(length)

    def read_cached(self, place: int, out: Bytes) -> bool:
        """Copy an image into `out` (S, S) if the system has it in memory; return whether it has."""
        if not NOWAIT:
            return False
        try:
            got = os.preadv(self.descriptor, [out.data], self.start + place * out.nbytes, NOWAIT)
        except OSError:  # it has not, or the file system cannot tell
            return False
        return got == out.nbytes

    def ask(self, place: int) -> None:
        """Let the system begin to read an image, where it can be asked to."""
        if hasattr(os, "posix_fadvise"):
            image = self.size**2
            first = self.start + place * image
            for at in range(first, first + image, ASKED):
                count = min(ASKED, first + image - at)
                os.posix_fadvise(self.descriptor, at, count, os.POSIX_FADV_WILLNEED)

    def read(self, place: int, out: Bytes) -> None:
        """Copy an image into `out` (S, S); wait for it if need be."""
        first, left = self.start + place * out.nbytes, out.data.cast("B")
        while left:
            try:
                got = os.preadv(self.descriptor, [left], first)
            except OSError as error:
                raise self._unreadable(error) from error
            if not got:
                raise self._cut(first)
            first, left = first + got, left[got:]

    def _unreadable(self, error: OSError) -> UnreadableShardError:
        return UnreadableShardError(
            f"Shard {self.path} can no longer be read: {error.strerror or error}.",
            "Make it readable again.",
        )

    def _cut(self, length: int) -> UnreadableShardError:
        return UnreadableShardError(
            f"Shard {self.path} was cut short while it was read: it has {length} bytes, not "
            f"{self.length}.",
            "Run the same deepchest prepare again; it mends what is damaged.",
        )


def open_shard(path: Path, length: int, images: Bytes) -> Shard:
    """Open a file of `length` bytes for as long as the shard lives.

    images: (n, S, S) as `read_shard` maps them. Raises `OSError`.
    """
    descriptor = os.open(path, os.O_RDONLY)
    shard = Shard(path, length, images.shape[1], getattr(images, "offset", 0), descriptor)
    weakref.finalize(shard, os.close, descriptor)
    return shard


def read_images(found: Sequence[tuple[Shard, int]], out: Bytes) -> None:
    """Copy images, each given by its shard and its place there, into `out` (B, S, S).

    Those that are not in memory are asked for before the first of them is waited for, so that
    storage works on many at a time. Raises `UnreadableShardError`.
    """
    for shard in {shard for shard, _ in found}:
        shard.refuse_missing()
    for first in range(0, len(found), AT_A_TIME):
        some = zip(found[first:][:AT_A_TIME], out[first:][:AT_A_TIME], strict=True)
        missing = [
            (shard, place, image)
            for (shard, place), image in some
            if not shard.read_cached(place, image)
        ]
        for shard, place, _ in missing:
            shard.ask(place)
        for shard, place, image in missing:
            shard.read(place, image)
