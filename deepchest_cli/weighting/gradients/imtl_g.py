"""IMTL-G (Liu et al. 2021, "Towards Impartial Multi-task Learning", ICLR).

Over the tasks that take part, with g_i the gradient of task i:
    w = the weights of sum 1 for which d . g_i / |g_i| is the same for all i,   d = sum of w_i g_i
    direction = d
Weights may be negative. Gradients that depend on each other are solved in the least-squares sense.
Where a short gradient lies between longer ones, these weights can lead uphill for every task, which
the paper does not speak of: here that counts as a failure of the solver.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter


class ImpartialGradientWeighter(SolvedWeighter):
    """Weights whose direction goes equally far along every task's gradient."""

    name = "imtl-g"

    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part."""
        weights = adapter.imtl_g(gramian)
        # of the sign of d . g_i / |g_i|, which is |d|^2 over this
        downhill = weights @ gramian.diagonal().sqrt() > 0
        return weights if downhill else torch.full_like(weights, math.nan)
