"""How a run reports on itself; the core never prints."""

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from torch import Tensor

from deepchest_cli.evaluation.metrics import macro

Item = TypeVar("Item")


@dataclass(frozen=True)
class StepReport:
    """The state of a run after a step; tensors stay on the device until an observer reads them."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # of this epoch, counted from 1
    steps: int  # of an epoch
    remaining: int  # steps until the run's planned end
    losses: Tensor  # of tasks (K,), of this batch
    weights: Tensor | None  # (K,)

    @property
    def share_done(self) -> float:
        """The share of the run's planned steps that is done."""
        return 1 - self.remaining / max(self.steps * self.epochs, 1)


@dataclass(frozen=True)
class EpochReport:
    """The metrics of an epoch, per finding (T,) with NaN where one is undefined; K tasks."""

    epoch: int
    epochs: int
    training: dict[str, Tensor]
    validation: dict[str, Tensor]  # of all images
    task_loss: Tensor  # (K,), in training
    task_auroc: Tensor  # (K,), in validation
    weights: Tensor | None  # (K,), the mean of those used in this epoch's steps
    score: float  # what the best epoch is chosen by
    best: bool  # whether its model is kept, so far
    seconds: float
    images_per_second: float
    data_wait_fraction: float  # of the time, spent waiting for batches
    peak_memory: int | None  # bytes, since the run began or was resumed
    # validation metrics (T,) of each data set by name, where there are several
    sources: dict[str, dict[str, Tensor]] = field(default_factory=dict)
    peak_learning_rate: float | None = None  # of the head that is reported, in a linear probe
    keep: str = "best"  # which epoch's model the run keeps

    def macro(self, split: str, metric: str) -> float:
        """Return the mean of a metric over the findings where it is defined."""
        return mean((self.training if split == "training" else self.validation)[metric])


def mean(values: Tensor) -> float:
    """Return the mean of a metric (T,) over the findings where it is defined."""
    return macro(values.cpu().numpy())


class Observer:
    """Receives the reports of a run; this one ignores them all."""

    def on_step(self, report: StepReport) -> None:
        """Receive a step's report."""

    def on_epoch(self, report: EpochReport) -> None:
        """Receive a finished epoch's report."""

    def on_features(self, done: int, total: int) -> None:
        """Receive how many radiographs have their features, of those that had none."""

    def on_note(self, text: str) -> None:
        """Receive a note for the user."""

    def on_warning(self, text: str) -> None:
        """Receive a warning for the user."""


class Clock:
    """Measures the seconds since it was made, and those spent waiting for data."""

    def __init__(self) -> None:
        self.started = time.perf_counter()
        self.waited = 0.0

    @property
    def seconds(self) -> float:
        """Seconds since the clock was made."""
        return time.perf_counter() - self.started

    def time_waits(self, items: Iterator[Item]) -> Iterator[Item]:
        """Yield `items`, adding the time that each takes to come."""
        while True:
            began = time.perf_counter()
            try:
                item = next(items)
            except StopIteration:
                return
            finally:
                self.waited += time.perf_counter() - began
            yield item
