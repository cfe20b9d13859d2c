"""Scale-invariant objective: a factor before a task's loss changes no gradient.

With L_i the task's loss, over the tasks that are present:
    objective = the sum of log L_i,   hence   w_i = 1 / L_i
The baseline "SI" of Navon et al. 2022, "Multi-Task Learning as a Bargaining Game"
(arXiv 2202.01017).
"""

import torch
from torch import Tensor

from deepchest_cli.weighting.base import MIN_LOSS, PerStepWeighter, TaskLosses


class ScaleInvariantWeighter(PerStepWeighter):
    """The sum of the logarithms of the task losses; one below 1e-8 has no gradient."""

    def forward(self, losses: TaskLosses) -> Tensor:
        self.record(derivatives_of_logs(losses))
        return logs_of_present(losses).sum()


def logs_of_present(losses: TaskLosses) -> Tensor:
    """Return the logarithms (T,) of the present tasks' losses; zero for the others."""
    # not by clamp: its gradient at MIN_LOSS in single precision is not that of derivatives_of_logs
    logs = torch.where(_counts(losses), losses.values, MIN_LOSS).log()
    return torch.where(losses.present, logs, 0.0)


def derivatives_of_logs(losses: TaskLosses) -> Tensor:
    """Return the derivatives (T,) of those logarithms; zero where a loss is below the minimum."""
    return torch.where(_counts(losses), 1 / losses.values.detach(), 0.0)


def _counts(losses: TaskLosses) -> Tensor:
    return losses.present & ~(losses.values < MIN_LOSS)  # a loss that is NaN is not hidden
