"""FairGrad (Ban and Ji 2024, "Fair Resource Allocation in Multi-Task Learning", 2402.15638).

Over the active tasks, with g_i the gradient of task i and G the products of all gradients:
    w = the weights above 0 with G w = w^(-1 / alpha)
    direction = sum of w_i g_i
Where all gradients are f times as long, w is f^(-2 alpha / (1 + alpha)) times as large.

Guaranteed: what Nash-MTL guarantees.
"""

import math

from torch import Tensor

from deepchest_cli.weighting.base import Context, Tasks, check_option
from deepchest_cli.weighting.gradients.aggregated import SolvedWeighter
from deepchest_cli.weighting.gradients.solvers import fair_weights


class FairGradWeighter(SolvedWeighter):
    """Weights that share the progress of a step among the tasks fairly.

    alpha: above 0, the kind of fairness; 1 is proportional fairness (as Nash-MTL), 2 the authors'
        choice for CelebA; the higher, the more for the task that gains least.
    """

    name = "fairgrad"

    def __init__(self, tasks: Tasks, alpha: float = 1.0, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        check_option("fairgrad", "alpha", alpha, 0 < alpha < math.inf, "above 0")
        self.alpha = alpha

    def solve(self, gramian: Tensor, scale: float, active: Tensor) -> Tensor:
        factor: float = scale ** (-self.alpha / (1 + self.alpha))  # undoes the scaling of `gramian`
        return fair_weights(gramian, self.alpha) * factor
