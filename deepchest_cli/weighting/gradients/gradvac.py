"""GradVac (Wang, Tsvetkov, Firat and Cao 2021, "Gradient Vaccine", arXiv 2010.05874).

For each task i, p_i = g_i at first; then, for all other tasks j in a random order, with c the
cosine of p_i and g_j, and rho_ij the one that is expected of the two:
    where c < rho_ij:   p_i <- p_i + a g_j,   the a by which the cosine comes to rho_ij
    rho_ij <- (1 - beta) rho_ij + beta c,   0 at first
    direction = sum of p_i

Not guaranteed: that no loss is raised.
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.base import Context, Tasks, check_option
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter


class GradVacWeighter(SolvedWeighter):
    """Weights of the sum of all gradients, each first turned toward those it was nearer to.

    beta: from 0 to 1, how fast the expected cosines follow; 0.5 as in other implementations, at 0
        the method is PCGrad.

    The expected cosines of an inactive task stay as they are.
    """

    name = "gradvac"
    uses_torchjd = True
    equal_sum_to_one = False
    saved = ("failures", "expected")

    def __init__(self, tasks: Tasks, beta: float = 0.5, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        check_option("gradvac", "beta", beta, 0 <= beta <= 1, "from 0 to 1")
        self.beta = beta
        size = len(self.tasks)
        self.expected = torch.zeros(size, size, dtype=torch.float64)

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        pairs, size = active[:, None] & active, len(gramian)
        expected = self.expected[pairs].view(size, size)
        weights, following = adapter.gradvac(gramian, expected, self.beta)
        self.expected[pairs] = following.flatten()
        return weights
