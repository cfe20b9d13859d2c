"""Inverse losses: every task contributes the same amount.

With L_i the task's loss, sg(.) without gradient, and n the number of tasks that are present:
    w_i = n (1 / sg(L_i)) / (the sum of all 1 / sg(L_j))
The objective is the sum of w_i L_i. Up to the common factor this is UW-O of Kirchdorfer et al.
2024, "Analytical Uncertainty-Based Loss Weighting in Multi-Task Learning" (arXiv 2408.07985).
"""

from torch import Tensor

from deepchest_cli.weighting.base import PerStepWeighter, TaskLosses, safe_log


class InverseLossWeighter(PerStepWeighter):
    """The sum of the task losses over their own sizes; the weights add up to the tasks present."""

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the weighted sum of the losses; those below 1e-8 count as 1e-8 in weights."""
        # normalized 1 / L_i is a softmax of -log L_i, which cannot overflow
        shares = losses.softmax(-safe_log(losses).detach())
        return losses.weighted_by(self.record(shares * losses.present.sum()))
