"""Dynamic weight average (Liu, Johns and Davison 2019, arXiv 1803.10704).

Once an epoch, with Lbar_i(t) the task's mean training loss in epoch t, T tasks, and tau the
temperature:
    r_i = Lbar_i(t-1) / Lbar_i(t-2)
    w_i(t) = T exp(r_i / tau) / (the sum of all exp(r_j / tau)),   1 in the first two epochs
The objective is the sum of w_i L_i: tasks whose losses fall slowly weigh more.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.weighting.base import (
    Performance,
    Tasks,
    WeightedSumWeighter,
    check_option,
    to_like,
)


class DynamicWeightAverage(WeightedSumWeighter):
    """Weights by how the training losses of the last two epochs compare.

    temperature: above 0, the higher the more equal are the weights; 2 in the paper.
    """

    latest: Tensor

    def __init__(self, tasks: Tasks, temperature: float = 2.0) -> None:
        super().__init__(tasks)
        is_valid = 0 < temperature < math.inf
        check_option("dwa", "temperature", temperature, is_valid, "above 0")
        self.temperature = temperature
        nan = torch.full_like(self.task_weights, math.nan)
        self.register_buffer("latest", nan)  # losses of the last epoch

    def end_epoch(self, performance: Performance) -> list[str]:
        """Update the weights from the mean training losses; an undefined ratio is 1."""
        means = performance.training_losses("dwa")
        current = to_like(means, self.latest)
        ratios = current / self.latest
        ratios = torch.where(ratios.isfinite(), ratios, 1.0)
        # exactly 1 where all ratios are the same, as in the first two epochs
        scores = ((ratios - ratios.max()) / self.temperature).exp()
        self.task_weights.copy_(len(self.tasks) * scores / scores.sum())
        self.latest.copy_(current)
        return [
            f"No known label of {task} in this epoch: its loss counts as unchanged in the next two."
            for task in self.named(means.isnan())
        ]
