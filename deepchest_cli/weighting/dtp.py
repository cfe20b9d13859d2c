"""Dynamic task prioritization (Guo et al. 2018, "Dynamic Task Prioritization for Multitask
Learning", ECCV).

Once an epoch, with k_i the task's performance between 0 and 1, kbar_i its moving average, and a
the smoothing:
    kbar_i <- a k_i + (1 - a) kbar_i,   in the first epoch k_i
    w_i = -(1 - kbar_i)^gamma log kbar_i,   1 before the first update
The objective is the sum of w_i L_i: the focal loss of a task in place of an example's. Difficult
tasks come first; under accuracy a rare finding counts as easy, as predicting none is right.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.base import (
    Performance,
    Tasks,
    WeightedSumWeighter,
    check_option,
    to_like,
)

METRICS = ("accuracy", "balanced-accuracy", "f1", "auroc", "average-precision")
MARGIN = 1e-6  # an average keeps this distance from 0 and 1: weights are finite and above 0


class DynamicTaskPriority(WeightedSumWeighter):
    """Weights that fall as a task's performance rises.

    gamma: 0 or above, the higher the less tasks count that do well; about 1 to 2 in the paper.
    smoothing: a, above 0 and at most 1, which is no memory.
    metric: accuracy, balanced-accuracy, f1, auroc or average-precision, of the training data where
        the loop measures it there, else of the validation data.
    A task whose metric is undefined keeps its weight.
    """

    averages: Tensor
    notified: Tensor

    def __init__(
        self, tasks: Tasks, gamma: float = 1.0, smoothing: float = 0.5, metric: str = "accuracy"
    ) -> None:
        super().__init__(tasks)
        check_option("dtp", "gamma", gamma, 0 <= gamma < math.inf, "0 or above")
        check_option("dtp", "smoothing", smoothing, 0 < smoothing <= 1, "above 0 and at most 1")
        self.gamma, self.smoothing, self.metric = gamma, smoothing, metric.replace("_", "-")
        if self.metric not in METRICS:
            raise unknown_name("metric of dtp:", metric, METRICS)
        nan = torch.full_like(self.task_weights, math.nan)
        self.register_buffer("averages", nan)  # NaN: none so far
        self.register_buffer("notified", torch.zeros(len(self.tasks), dtype=torch.bool))

    def end_epoch(self, performance: Performance) -> list[str]:
        """Update the weights; note once for each task that its metric is undefined.

        Raises `UsageError` when the metric is not among those of the epoch.
        """
        values = to_like(self._values(performance), self.averages)
        mixed = self.smoothing * values + (1 - self.smoothing) * self.averages
        averages = torch.where(self.averages.isnan(), values, mixed)
        undefined = values.isnan()
        self.averages.copy_(torch.where(undefined, self.averages, averages))
        clamped = self.averages.clamp(MARGIN, 1 - MARGIN)
        weights = (1 - clamped) ** self.gamma * -clamped.log()
        self.task_weights.copy_(torch.where(undefined, self.task_weights, weights))
        new = self.named(undefined & ~self.notified)
        self.notified |= undefined
        return [f"The {self.metric} of {task} is undefined: its weight stays." for task in new]

    def _values(self, performance: Performance) -> Tensor:
        key = self.metric.replace("-", "_")
        for metrics in (performance.training, performance.validation):
            if key in metrics:
                return metrics[key]
        given = ", ".join({**performance.training, **performance.validation}) or "nothing"
        raise UsageError(f"The weighter 'dtp' needs the {key!r} of each epoch.", f"Given: {given}.")
