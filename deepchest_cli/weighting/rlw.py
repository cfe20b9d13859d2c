"""Random loss weighting (Lin, Ye, Zhang and Tsang 2021, arXiv 2111.10603).

At every step, with L_i the loss of task i and z_i drawn from a standard normal distribution:
    w_i = exp(z_i) / (the sum of all exp(z_j))
The objective is the sum of w_i L_i, over the tasks that are present; the weights add up to 1 as
in the paper, not to the number of tasks. A method should do better than these random weights.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.weighting.base import (
    DEFAULT_CONTEXT,
    Context,
    PerStepWeighter,
    PrivateGenerator,
    TaskLosses,
    softmax_over,
    to_like,
    weighted_sum,
)


class RandomLossWeighter(PerStepWeighter):
    """Weights drawn at every step, by a private generator that the run's seed starts."""

    def __init__(self, tasks: Sequence[str], context: Context = DEFAULT_CONTEXT) -> None:
        super().__init__(tasks)
        self.private = PrivateGenerator(context.seed)

    def forward(self, losses: TaskLosses) -> Tensor:
        drawn = torch.randn(len(self.tasks), generator=self.private.generator, dtype=torch.float64)
        scores = to_like(drawn, losses.values)
        return weighted_sum(self.record(softmax_over(losses.present, scores)), losses)
