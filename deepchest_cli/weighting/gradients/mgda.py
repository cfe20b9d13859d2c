"""MGDA (Desideri 2012; Sener and Koltun 2018, arXiv 1810.04650, whose MGDA-UB takes the gradients
by the features as here by default).

Over the active tasks, with g_i the gradient of task i:
    w = the weights, 0 or above and of sum 1, for which |sum of w_i g_i| is least
    direction = d = sum of w_i g_i
The authors approach w by the Frank-Wolfe algorithm; here it is found exactly.

Guaranteed: g_i . d >= |d|^2 for every task, so that no loss is raised; to 1e-6 |g_i| |d| for
gradients by the features, to single precision of |g_i| (sum of w_j |g_j|) for more than 262,144
numbers. Where some average is zero no direction lowers all losses, and d is zero. The shortest
gradient has the most weight; a task without any does not take part, for d would always be zero.
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import shortest_average, vanishes


class MGDAWeighter(SolvedWeighter):
    """Weights of the shortest of all the gradients' averages, which lowers every loss."""

    name = "mgda"

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        """Return the weights (m,) of the active tasks; zeros where nothing is good."""
        weights = shortest_average(gramian)
        return torch.zeros_like(weights) if vanishes(gramian, weights) else weights
