"""IMTL-G (Liu et al. 2021, "Towards Impartial Multi-task Learning", ICLR).

Over the active tasks, with g_i the gradient of task i:
    w = the weights of sum 1 for which d . g_i / |g_i| is the same for all i,   d = sum of w_i g_i
    direction = d
Weights may be negative.

Guaranteed where the gradients are linearly independent: no loss is raised, and all d . g_i / |g_i|
are the same. Otherwise w is the answer of least squares, and a loss may be raised. Where a short
gradient lies between longer ones, the weights of sum 1 can lead uphill for every task, which the
paper does not mention: here that counts as a failure of the solver.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import VANISHING, equal_angle


class ImpartialGradientWeighter(SolvedWeighter):
    """Weights whose direction goes equally far along every task's gradient."""

    name = "imtl-g"

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        weights = equal_angle(gramian)
        total = weights.sum()
        # before it is scaled to the sum 1 the direction goes downhill
        downhill = total > VANISHING * weights.abs().sum()
        return weights / total if downhill else torch.full_like(weights, math.nan)
