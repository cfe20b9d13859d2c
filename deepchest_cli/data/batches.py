"""The order of an epoch and its batches: pure functions of seed and epoch, so that runs resume."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.reader import ImageReader

Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch:
    """B radiographs and what is known about them.

    Where several processes share a batch, the images are this process's part of it and the labels
    are those of the whole.
    """

    images: Tensor  # (B / processes, S, S), uint8
    labels: Tensor  # (B, T), float32
    known: Tensor  # (B, T), bool


def epoch_order(
    rows: NDArray[np.int64], seed: int, epoch: int, chances: NDArray[np.float64] | None = None
) -> NDArray[np.int64]:
    """Return `rows` in the random order of an epoch, the same whenever it is asked for.

    With `chances` (one for each row, summing to one) rows are drawn with replacement.
    """
    random = np.random.default_rng([seed, epoch])
    if chances is None:
        return np.asarray(random.permutation(rows))
    return np.asarray(random.choice(rows, size=len(rows), p=chances))


def batches(
    reader: ImageReader,
    rows: NDArray[np.int64],
    batch_size: int,
    start: int = 0,
    part: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield the batches of `rows` from batch number `start` on; the last may be smaller.

    `part` (number, of how many) is this process's share of every batch's images.
    """
    number, parts = part
    for first in range(start * batch_size, len(rows), batch_size):
        chosen = rows[first : first + batch_size]
        share = len(chosen) // parts
        mine = chosen if parts == 1 else chosen[number * share : (number + 1) * share]
        index = reader.index(chosen)
        yield Batch(reader.read(mine), reader.labels[index], reader.known[index])


def ahead(items: Iterator[Item]) -> Iterator[Item]:
    """Yield what `items` yields, the next one made in a thread while this one is used."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
