"""Geometric loss strategy (Chennupati et al. 2019, "MultiNet++", arXiv 1904.08492).

With L_i the task's loss and n the number of tasks that are present:
    objective = (the product of L_i)^(1/n),   hence   w_i = objective / (n L_i)
"""

from torch import Tensor

from deepchest_cli.weighting.base import PerStepWeighter, TaskLosses
from deepchest_cli.weighting.scale_invariant import derivatives_of_logs, logs_of_present


class GeometricLossWeighter(PerStepWeighter):
    """The geometric mean of the task losses; one below 1e-8 counts as 1e-8, without gradient."""

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the geometric mean over the present tasks; zero where there are none."""
        number = losses.present.sum().clamp(min=1)
        # by logarithms: the product of many small losses would underflow
        mean = (logs_of_present(losses).sum() / number).exp()
        self.record(mean * derivatives_of_logs(losses) / number)
        return mean * losses.present.any()
