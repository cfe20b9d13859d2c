"""PCGrad (Yu et al. 2020, "Gradient Surgery for Multi-Task Learning", arXiv 2001.06782).

For each task i, p_i = g_i at first; then, for all other tasks j in a random order:
    where p_i . g_j < 0:   p_i <- p_i - (p_i . g_j / |g_j|^2) g_j
    direction = sum of p_i

Not guaranteed: that no loss is raised. With two tasks none is; with more, taking out one conflict
can bring another back.
"""

from torch import Tensor

from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter


class PCGradWeighter(SolvedWeighter):
    """Weights of the sum of all gradients, each first freed of its conflicts, one by one."""

    name = "pcgrad"
    uses_torchjd = True
    equal_sum_to_one = False

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        return adapter.pcgrad(gramian)
