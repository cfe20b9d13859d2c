"""Equal weighting, the baseline of every comparison (Kurin et al., NeurIPS 2022, defend it)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.weighting.base import LossWeighter, TaskLosses, weighted_sum


class EqualWeighter(LossWeighter):
    """The plain sum of the task losses."""

    additive = True
    ones: Tensor

    def __init__(self, tasks: Sequence[str]) -> None:
        super().__init__(tasks)
        ones = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("ones", ones, persistent=False)

    @property
    def weights(self) -> Tensor:
        """One for every task (T,)."""
        return self.ones.clone()

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the sum of the losses."""
        return weighted_sum(self.ones, losses)
