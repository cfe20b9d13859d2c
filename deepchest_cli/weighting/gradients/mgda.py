"""MGDA (Desideri 2012; Sener and Koltun 2018, arXiv 1810.04650, whose MGDA-UB takes the gradients
by the features as here by default).

Over the tasks that take part, with g_i the gradient of task i:
    w = the weights, 0 or above and of sum 1, for which |sum of w_i g_i| is least
    direction = sum of w_i g_i
Found by their Frank-Wolfe algorithm, in at most 100 steps. The shortest gradient has the most
weight; a task without any, for which the direction would be zero, does not take part.
"""

from torch import Tensor

from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter


class MGDAWeighter(SolvedWeighter):
    """Weights of the shortest of all the gradients' averages, which lowers every loss."""

    name = "mgda"

    def weigh(self, gramian: Tensor, scale: float, taking_part: Tensor) -> Tensor:
        """Return the weights (m,) of the tasks that take part."""
        return adapter.mgda(gramian)
