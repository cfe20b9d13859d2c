"""The order of an epoch and its batches: pure functions of seed and epoch, so that runs resume."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.data.dataset import RadiographDataset


@dataclass(frozen=True)
class Batch:
    """B radiographs with what is known about them."""

    images: Tensor  # (B, S, S), uint8
    labels: Tensor  # (B, T), float32
    known: Tensor  # (B, T), bool

    def to(self, device: torch.device) -> "Batch":
        """Return the batch on a device; the images travel as bytes."""
        return Batch(self.images.to(device), self.labels.to(device), self.known.to(device))


def epoch_order(rows: NDArray[np.int64], seed: int, epoch: int) -> NDArray[np.int64]:
    """Return `rows` in the random order of an epoch, the same whenever it is asked for."""
    return np.asarray(np.random.default_rng([seed, epoch]).permutation(rows))


def batches(
    dataset: RadiographDataset, rows: NDArray[np.int64], batch_size: int, start: int = 0
) -> Iterator[Batch]:
    """Yield the batches of `rows` from batch number `start` on; the last may be smaller."""
    for first in range(start * batch_size, len(rows), batch_size):
        chosen = rows[first : first + batch_size]
        yield Batch(
            torch.from_numpy(dataset.gather(chosen)),
            torch.from_numpy(dataset.labels[chosen]).float(),
            torch.from_numpy(dataset.known[chosen]).bool(),
        )
