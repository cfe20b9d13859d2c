"""Pixels of shards that are not complete yet, on disk: memory stays flat in whatever order."""

import os
import tempfile
from pathlib import Path

import numpy as np
from numpy.typing import NDArray


class Scratch:
    """A file without a name, which ends with this process however that ends.

    Images that come in the order of their rows need room for a shard or two; the room of a
    finished shard is used again. Errors of writing, of a full disk for instance, are raised.
    """

    def __init__(self, folder: Path, rows: int, size: int) -> None:
        self.rows, self.size = rows, size
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  it lives as long as we do
        self._slots: dict[int, int] = {}  # shard to its place in the file
        self._free: list[int] = []

    def put(self, shard: int, row: int, pixels: NDArray[np.uint8]) -> None:
        """Keep the image (S, S) of a row of a shard."""
        if shard not in self._slots:
            self._slots[shard] = self._free.pop() if self._free else len(self._slots)
        image = self.size**2
        place = (self._slots[shard] * self.rows + row) * image
        view = memoryview(pixels.tobytes())
        while view:
            written = os.pwrite(self._file.fileno(), view, place)
            view, place = view[written:], place + written

    def take(self, shard: int, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of some rows of a shard (len(rows), S, S) and give its room back."""
        images = np.empty((len(rows), self.size, self.size), dtype=np.uint8)
        if len(rows):
            slot = self._slots.pop(shard)
            self._free.append(slot)
            for position, row in enumerate(rows.tolist()):
                place = (slot * self.rows + row) * self.size**2
                os.preadv(self._file.fileno(), [memoryview(images[position]).cast("B")], place)
        return images

    def close(self) -> None:
        """Give the file up."""
        self._file.close()
