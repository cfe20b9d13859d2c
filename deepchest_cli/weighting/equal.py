"""Equal weighting, the baseline of every comparison (Kurin et al., NeurIPS 2022, defend it)."""

import torch
from torch import Tensor

from deepchest_cli.weighting.base import LossWeighter, TaskLosses, weighted_sum


class EqualWeighter(LossWeighter):
    """The plain sum of the task losses."""

    @property
    def weights(self) -> Tensor:
        """One for every task (T,)."""
        return torch.ones(len(self.tasks), dtype=torch.float64)

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the sum of the losses."""
        return weighted_sum(self.weights, losses)
