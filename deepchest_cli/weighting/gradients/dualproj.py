"""DualProj (Lopez-Paz and Ranzato 2017, "Gradient Episodic Memory for Continual Learning",
equation 11; named so by Quinton and Rey 2024, arXiv 2406.16232).

Over the m active tasks, with g_i the gradient of task i and C the cone of all directions d
that conflict with no task (g_j . d >= 0 for all j):
    direction = the point of C nearest to the mean of all g_i, found exactly

Guaranteed: what UPGrad guarantees.
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import projected


class DualProjWeighter(SolvedWeighter):
    """Weights of the mean gradient, projected onto what harms no task."""

    name = "dualproj"

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        size = len(gramian)
        return projected(gramian, torch.full((1, size), 1 / size, dtype=gramian.dtype))[0]
