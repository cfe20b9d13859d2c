"""CAGrad (Liu, Liu, Jin, Stone and Liu 2021, arXiv 2110.14048).

Over the m tasks that take part, with g_i the gradient of task i and g_0 the mean of all:
    direction = the d with |d - g_0| <= c |g_0| that is best for the worst-off task, which is
              = g_0 + c |g_0| g_w / |g_w|,   g_w = sum of w_i g_i,
    w = the weights, 0 or above and of sum 1, for which g_w . g_0 + c |g_0| |g_w| is least
A task without gradient, for which g_w would be zero, does not take part. Where g_w is zero all the
same, no d is good for all tasks, and the direction is g_0.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.adapter import TORCHJD
from deepchest_cli.weighting.gradients.aggregated import NO_SEED_GIVEN, SolvedWeighter


class CAGradWeighter(SolvedWeighter):
    """Weights that help the worst-off task, near the mean gradient.

    c: 0 or above, how far from the mean the direction may be, as a share of its length; 0.4 in the
        authors' code. At 0 it is the mean; below 1 the mean of the losses still converges.
    """

    name = "cagrad"
    packages = (TORCHJD, "cvxpy", "clarabel")

    def __init__(
        self, tasks: Sequence[str], c: float = 0.4, context: Context = NO_SEED_GIVEN
    ) -> None:
        super().__init__(tasks, context)
        if not 0 <= c < math.inf:
            raise UsageError(f"Option 'c' of cagrad should be 0 or above. Found {c}.")
        self.c = c

    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part."""
        weights = adapter.cagrad(gramian, self.c)
        return weights if weights.any() else torch.full_like(weights, 1 / len(weights))
