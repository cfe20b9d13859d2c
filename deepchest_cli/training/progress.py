"""How a run reports on itself; the core never prints."""

from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from deepchest_cli.evaluation.metrics import macro


@dataclass(frozen=True)
class StepReport:
    """Where a run stands after a step; the figures stay on the device until someone asks."""

    epoch: int  # counted from 1
    epochs: int
    step: int  # of this epoch, counted from 1
    steps: int  # of an epoch
    remaining: int  # steps until the run's planned end
    losses: Tensor  # (T,), of this batch
    weights: Tensor | None  # (T,)


@dataclass(frozen=True)
class EpochReport:
    """The figures of an epoch, per finding (T,) with NaN where one is undefined."""

    epoch: int
    epochs: int
    training: dict[str, Tensor]
    validation: dict[str, Tensor]
    weights: Tensor | None  # (T,), the mean of those used in this epoch's steps
    best: bool
    seconds: float
    images_per_second: float
    waiting: float  # share of the time in which nothing was there to compute on
    peak_memory: int | None  # bytes, since the process began

    def macro(self, part: str, metric: str) -> float:
        """Return the mean of a metric over the findings where it is defined."""
        values = (self.training if part == "training" else self.validation)[metric]
        return macro(values.cpu().numpy())


class Observer(Protocol):
    """Who wants to know what a run is doing."""

    def on_step(self, report: StepReport) -> None:
        """Hear of a step."""

    def on_epoch(self, report: EpochReport) -> None:
        """Hear of a finished epoch."""

    def on_note(self, text: str) -> None:
        """Hear of something that the user should be told."""

    def on_warning(self, text: str) -> None:
        """Hear of something that the user should not miss."""
