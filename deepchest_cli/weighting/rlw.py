"""Random loss weighting (Lin, Ye, Zhang and Tsang 2021, arXiv 2111.10603).

At every step, with L_i the loss of task i and z_i drawn from a standard normal distribution:
    w_i = exp(z_i) / (the sum of all exp(z_j))
The objective is the sum of w_i L_i, over the tasks that are present; the weights add up to 1 as
in the paper, not to the number of tasks. A litmus test: a method should do better than chance.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.weighting.base import (
    Context,
    StepWeighter,
    TaskLosses,
    softmax_over,
    weighted_sum,
)

NO_SEED_GIVEN = Context()


class RandomLossWeighter(StepWeighter):
    """Weights drawn anew at every step, by a generator of its own that the run's seed starts."""

    def __init__(self, tasks: Sequence[str], context: Context = NO_SEED_GIVEN) -> None:
        super().__init__(tasks)
        # on the CPU, whatever the losses are on: the same draws on every device
        self.generator = torch.Generator().manual_seed(context.seed)

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the sum of the losses times new weights."""
        drawn = torch.randn(len(self.tasks), generator=self.generator, dtype=torch.float64)
        # the type first: Metal has no double precision
        scores = drawn.to(losses.values.dtype).to(losses.values.device)
        return weighted_sum(self.remember(softmax_over(losses.present, scores)), losses)

    def get_extra_state(self) -> Tensor:
        """Return the generator's state, bytes."""
        return self.generator.get_state()

    def set_extra_state(self, state: Tensor) -> None:
        """Draw on from a generator's state; a checkpoint may have moved it to another device."""
        self.generator.set_state(state.cpu())
