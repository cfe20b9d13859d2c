"""DeepChest: weights that follow each task's accuracy (Mohamed et al. 2025, arXiv 2505.23595).

Once an epoch, with a_i the task's training accuracy and theta the mean of all a_i:
    a_i < theta:   w_i <- min(raise_factor * w_i, cap)
    otherwise:     w_i <- w_i / decay
The objective is the sum of w_i L_i. The constants are those of the authors' code.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import LossWeighter, Performance, TaskLosses, weighted_sum


class DeepChestWeighter(LossWeighter):
    """Raise the weight of tasks below the mean accuracy, lower that of the others.

    raise_factor: above 1, in the authors' code 1.1.
    cap: the largest weight that raising reaches, positive, 1.5.
    decay: above 1, 1.05.
    initial: weight of every task before the first epoch, positive, 1.
    """

    additive = True
    task_weights: Tensor

    def __init__(
        self,
        tasks: Sequence[str],
        raise_factor: float = 1.1,
        cap: float = 1.5,
        decay: float = 1.05,
        initial: float = 1.0,
    ) -> None:
        super().__init__(tasks)
        for name, value, bound in (
            ("raise_factor", raise_factor, 1.0),
            ("cap", cap, 0.0),
            ("decay", decay, 1.0),
            ("initial", initial, 0.0),
        ):
            if not bound < value < float("inf"):
                raise UsageError(
                    f"Option {name!r} of deepchest should be above {bound:g}. Found {value}."
                )
        self.raise_factor, self.cap, self.decay = raise_factor, cap, decay
        # double precision: the trace is then the one worked by hand
        weights = torch.full((len(self.tasks),), initial, dtype=torch.float64)
        self.register_buffer("task_weights", weights)

    @property
    def weights(self) -> Tensor:
        """The weights (T,) of the current epoch."""
        return self.task_weights.clone()

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the weighted sum of the losses."""
        return weighted_sum(self.task_weights, losses)

    def end_epoch(self, performance: Performance) -> list[str]:
        """Update the weights from the training accuracy; an undefined one leaves its weight."""
        accuracy = performance.training["accuracy"].to(self.task_weights)
        defined = ~torch.isnan(accuracy)
        if defined.any():
            # compared as T a_i < sum a_j, correctly rounded: equal accuracies are never below
            below = accuracy * int(defined.sum()) < math.fsum(accuracy[defined].tolist())
            raised = (self.task_weights * self.raise_factor).clamp(max=self.cap)
            updated = torch.where(below, raised, self.task_weights / self.decay)
            self.task_weights.copy_(torch.where(defined, updated, self.task_weights))
        undefined = [task for task, known in zip(self.tasks, defined, strict=True) if not known]
        return [f"No known label of {task} in this epoch: its weight stays." for task in undefined]
