"""Random loss weighting (Lin, Ye, Zhang and Tsang 2021, arXiv 2111.10603).

At every step, with L_i the loss of task i and z_i drawn from a standard normal distribution:
    w_i = exp(z_i) / (the sum of all exp(z_j))
The objective is the sum of w_i L_i, over the tasks that are present; the weights add up to 1 as
in the paper, not to the number of tasks. A method should do better than these random weights.
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.base import (
    Context,
    PerStepWeighter,
    PrivateGenerator,
    TaskLosses,
    Tasks,
)


class RandomLossWeighter(PerStepWeighter):
    """Weights drawn at every step, by a private generator that the run's seed starts."""

    def __init__(self, tasks: Tasks, context: Context = Context()) -> None:
        super().__init__(tasks)
        self.private = PrivateGenerator(context.seed)

    def forward(self, losses: TaskLosses) -> Tensor:
        drawn = torch.randn(len(self.tasks), generator=self.private.generator, dtype=torch.float64)
        return losses.weighted_by(self.record(losses.softmax(drawn)))
