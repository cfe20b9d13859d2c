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
    """Weights of the sum of all gradients, each first freed of its conflicts one by one."""

    name = "pcgrad"
    by_torchjd = True
    average = False

    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part."""
        return adapter.pcgrad(gramian)
