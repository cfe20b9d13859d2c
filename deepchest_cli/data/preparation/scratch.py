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

    def __init__(self, folder: Path, size: int) -> None:
        self.size = size
        self._file = tempfile.TemporaryFile(dir=folder)  # noqa: SIM115  it lives as long as we do
        self._places: dict[int, int] = {}  # row to where its image lies in the file
        self._free: list[int] = []
        self._used = 0

    def put(self, row: int, pixels: NDArray[np.uint8]) -> None:
        """Keep the image (S, S) of a row."""
        if self._free:
            self._places[row] = self._free.pop()
        else:
            self._places[row] = self._used
            self._used += self.size**2
        place, view = self._places[row], memoryview(pixels.tobytes())
        while view:
            written = os.pwrite(self._file.fileno(), view, place)
            view, place = view[written:], place + written

    def take(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Return the images of some rows (len(rows), S, S) and give their room back."""
        images = np.empty((len(rows), self.size, self.size), dtype=np.uint8)
        for position, row in enumerate(rows.tolist()):
            place = self._places.pop(row)
            os.preadv(self._file.fileno(), [memoryview(images[position]).cast("B")], place)
            self._free.append(place)
        return images

    def close(self) -> None:
        """Give the file up."""
        self._file.close()
