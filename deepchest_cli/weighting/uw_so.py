"""UW-SO, soft optimal uncertainty weighting (Kirchdorfer et al. 2024, arXiv 2408.07985).

With L_i the task's loss, sg(.) without gradient, and tau the temperature:
    w_i = exp(1 / (tau sg(L_i))) / (the sum of all exp(1 / (tau sg(L_j))))
The objective is the sum of w_i L_i, over the tasks that are present; the weights add up to 1.
"""

import math

from torch import Tensor

from deepchest_cli.weighting.base import MIN_LOSS, PerStepWeighter, TaskLosses, Tasks, check_option


class SoftOptimalUncertaintyWeighter(PerStepWeighter):
    """Weights by a softmax of the inverse losses: the smaller a loss, the higher its weight.

    temperature: above 0, of the size of 1 / L; the authors tune it for each data set.

    The cross-entropy of a rare finding is tiny in a batch without it: 1 / L is about 500 for
    Hernia, 0.2 % of ChestX-ray14. At the prevalences of that data set, in batches of 32 and for a
    model that predicts just these, Hernia has on average 0.94 of all weight at 20 and 0.16 at 500.
    Losses that shrink further in training call for a higher temperature.
    """

    def __init__(self, tasks: Tasks, temperature: float = 500.0) -> None:
        super().__init__(tasks)
        is_valid = 0 < temperature < math.inf
        check_option("uw-so", "temperature", temperature, is_valid, "above 0")
        self.temperature = temperature

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the weighted sum of the losses; those below 1e-8 count as 1e-8 in weights."""
        inverse = 1 / losses.values.detach().clamp(min=MIN_LOSS)
        shares = losses.softmax(inverse / self.temperature)
        return losses.weighted_by(self.record(shares))
