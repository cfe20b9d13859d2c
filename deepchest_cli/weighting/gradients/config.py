"""ConFIG (Liu, Chu and Thuerey 2024, "Towards Conflict-Free Training", arXiv 2408.11104).

Over the active tasks, with g_i the gradient of task i and u_i = g_i / |g_i|:
    v = the shortest vector with u_i . v = 1 for all i, and v / |v| its unit vector e
    direction = (sum of g_i . e) e
The direction is a sum of w_i g_i; these weights are what the trace shows.

Guaranteed where the gradients are linearly independent: the angle to all is the same, and no loss
is raised. Otherwise v is the answer of least squares, and a loss may be raised.
"""

from torch import Tensor

from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import equal_angle


class ConFIGWeighter(SolvedWeighter):
    """Weights of the direction that is at the same angle to every task's gradient."""

    name = "config"
    equal_sum_to_one = False

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        weights = equal_angle(gramian)  # of v
        products = gramian @ weights  # g_i . v
        return weights * products.sum() / (weights @ products)
