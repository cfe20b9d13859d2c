"""Nash-MTL (Navon et al. 2022, "Multi-Task Learning as a Bargaining Game", arXiv 2202.01017).

Over the active tasks, with g_i the gradient of task i and G the products of all gradients,
divided by the norm of all these:
    w = the weights above 0 with G w = 1 / w
    direction = sum of w_i g_i, shortened to max_norm where it is longer
The authors approach w by a sequence of convex problems; here it is found exactly.

Guaranteed: every g_i . d is above zero, so that no loss is raised. Where some average of the
gradients is zero no direction lowers all losses: there are no such weights, which counts as a
failure of the solver.
"""

import math

from torch import Tensor

from deepchest_cli.weighting.base import Context, Tasks, check_option
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import fair_weights


class NashWeighter(SolvedWeighter):
    """Weights of the Nash bargaining solution: all tasks gain the same relative to their best.

    max_norm: 0 or above, the longest direction; 1 in the authors' code; 0: any.
    """

    name = "nash-mtl"

    def __init__(self, tasks: Tasks, max_norm: float = 1.0, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        is_valid = 0 <= max_norm < math.inf
        check_option("nash-mtl", "max_norm", max_norm, is_valid, "0 or above")
        self.max_norm = max_norm

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        weights = fair_weights(gramian / gramian.norm(), alpha=1.0)
        length = float(weights @ gramian @ weights * scale) ** 0.5
        shorter = min(1.0, (self.max_norm or math.inf) / length)
        return weights.mul(shorter)
