"""The batches of an epoch, each of them made while the one before is used."""

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

    Where several processes share a batch, the images are this process's local batch and the labels
    are those of the whole.
    """

    images: Tensor  # (B / processes, S, S), uint8; of a linear probe features (B, D)
    labels: Tensor  # of tasks (B, K), float32; of a linear probe with R heads (B, R, K)
    known: Tensor  # (B, K), bool; likewise
    present: tuple[int, ...]  # the tasks with a known label, for which no device is waited for


def batches(
    reader: ImageReader,
    rows: NDArray[np.int64],
    batch_size: int,
    start: int = 0,
    rank: tuple[int, int] = (0, 1),
) -> Iterator[Batch]:
    """Yield the batches of `rows` from batch number `start` on; the last may be smaller.

    rank: this process's number and how many there are, each with a local batch of every batch.
    """
    number, ranks = rank
    for first in range(start * batch_size, len(rows), batch_size):
        chosen = rows[first : first + batch_size]
        share = len(chosen) // ranks
        mine = chosen if ranks == 1 else chosen[number * share : (number + 1) * share]
        index = reader.index(chosen)
        images, labels, known = reader.read(mine), reader.labels[index], reader.known[index]
        yield Batch(images, labels, known, reader.present(chosen))


def prefetch(items: Iterator[Item]) -> Iterator[Item]:
    """Yield what `items` yields, the next one made in a thread while this one is used."""
    end = object()
    with ThreadPoolExecutor(1, thread_name_prefix="batches") as thread:
        coming = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]
