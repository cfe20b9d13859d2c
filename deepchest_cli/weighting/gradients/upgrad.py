"""UPGrad (Quinton and Rey 2024, "Jacobian Descent for Multi-Objective Optimization", 2406.16232).

Over the m active tasks, with g_i the gradient of task i and C the cone of all directions d
that conflict with no task (g_j . d >= 0 for all j):
    direction = (1 / m) sum of pi_i,   pi_i the point of C nearest to g_i
Where no two gradients conflict, that is their mean. All pi_i are found exactly.

Guaranteed: g_j . d >= 0 for every task, so that no loss is raised; to 1e-6 |g_j| |d| for gradients
by the features, to single precision of |g_j| (sum of |w_i| |g_i|) for more than 262,144 numbers.
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import projected


class UPGradWeighter(SolvedWeighter):
    """Weights of the mean of all gradients, each first projected onto what harms no task."""

    name = "upgrad"

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        return projected(gramian, torch.eye(len(gramian), dtype=gramian.dtype)).mean(dim=0)
