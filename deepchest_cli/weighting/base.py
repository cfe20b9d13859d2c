"""What every weighter is: task losses in, one objective out, and a memory that can be saved."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import torch
from torch import Tensor, nn

SMALLEST = 1e-8  # a loss below counts as this much where it is divided by or its logarithm taken


@dataclass(frozen=True)
class TaskLosses:
    """The losses of one batch; a task without a known label has no say in the step."""

    values: Tensor  # (T,), mean over the known labels; zero without gradient where there are none
    known: Tensor  # (T,), how many labels are known

    @property
    def present(self) -> Tensor:
        """Which tasks (T,) the batch says anything about."""
        return self.known > 0


@dataclass(frozen=True)
class Performance:
    """What an epoch achieved: metric name to values (T,), NaN where one is undefined."""

    training: Mapping[str, Tensor] = field(default_factory=dict)
    validation: Mapping[str, Tensor] = field(default_factory=dict)
    validation_counts: Tensor | None = None  # (2, T): positives, negatives; None: not known


@dataclass(frozen=True)
class Context:
    """What a run knows and a weighter may want, beside the options that a user sets."""

    seed: int = 0  # of a private generator, where a method draws
    prevalence: Tensor | None = None  # (T,), of the training labels; NaN: nothing known
    epochs: int | None = None  # that the run is planned for


class Weighter(nn.Module, ABC):
    """Common to all: the tasks, the trace of weights, and the hooks of a training loop.

    All state lives in buffers, parameters and the extra state of torch's modules, so that
    `state_dict` resumes a run exactly. Parameters, where a method learns its weights with the
    model, belong into an optimizer group of their own without weight decay.
    """

    # whether a step's objective is the sum of the objectives of its parts, so that each part can
    # be back-propagated before the next is looked at
    additive: ClassVar[bool] = False

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__()
        self.tasks = tuple(tasks)

    @property
    @abstractmethod
    def weights(self) -> Tensor | None:
        """The derivative of the objective by each task's loss (T,), as last used.

        None before the first step of a method whose weights follow from the losses.
        """

    def observe(self, logits: Tensor, labels: Tensor, known: Tensor) -> None:
        """Watch the results of a step, each (B, T), before the update."""

    def end_epoch(self, performance: Performance) -> list[str]:
        """Take note of an epoch's results; return what the user should be told."""
        return []

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Look again after the update; `recompute` gives the losses of the same batch."""


class LossWeighter(Weighter):
    """A weighter that needs the losses only, no gradients."""

    @abstractmethod
    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the scalar objective to back-propagate."""


class HeldWeighter(LossWeighter):
    """A loss weighter with weights of its own: the objective is the sum of w_i L_i.

    Kept in double precision, so that a trace is the one worked by hand.
    """

    additive = True
    task_weights: Tensor

    def __init__(self, tasks: Sequence[str], weights: Tensor | None = None) -> None:
        super().__init__(tasks)
        ones = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("task_weights", ones if weights is None else weights)

    @property
    def weights(self) -> Tensor:
        """The weights (T,) that the next step uses."""
        return self.task_weights.clone()

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the weighted sum of the losses."""
        return weighted_sum(self.task_weights, losses)


class StepWeighter(LossWeighter):
    """A loss weighter whose weights follow from each step; it remembers the last ones."""

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        self.last: Tensor | None = None

    @property
    def weights(self) -> Tensor | None:
        """The derivative of the objective by each task's loss (T,), as last used."""
        return self.last

    def remember(self, weights: Tensor) -> Tensor:
        """Keep the weights (T,) of this step for the trace, and return them."""
        self.last = weights.detach().clone()
        return weights


def weighted_sum(weights: Tensor, losses: TaskLosses) -> Tensor:
    """Return the sum of the present tasks' losses times their weights (T,)."""
    # the type first: Metal has no double precision
    terms = weights.to(losses.values.dtype).to(losses.values.device) * losses.values
    return torch.where(losses.present, terms, torch.zeros_like(terms)).sum()


def softmax_over(present: Tensor, scores: Tensor) -> Tensor:
    """Return the softmax (T,) over the present tasks' scores; zero for the others."""
    shares = torch.softmax(scores.masked_fill(~present, float("-inf")), dim=0)
    return torch.where(present, shares, torch.zeros_like(shares))  # none present: no NaN


def safe_log(losses: TaskLosses) -> Tensor:
    """Return the logarithms (T,) of the losses; of the smallest where one is zero or absent."""
    return losses.values.clamp(min=SMALLEST).log()
