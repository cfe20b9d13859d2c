"""FAMO, fast adaptive multitask optimization (Liu, Feng, Stone and Liu 2023, arXiv 2306.03792).

Over the tasks that are present, with L_i the task's loss, L'_i that of the same batch after the
model's update, v_i a learned number, and D_i = L_i + 1e-8 (the paper's lower bound b_i is 0 here):
    z = softmax(v),   c = 1 / (sum of z_i / D_i), without gradient
    objective = c (sum of z_i log D_i),   hence   w_i = c z_i / D_i
    after the update: delta_i = log D_i - log D'_i,   gradient of v_i = z_i (delta_i - z . delta)
The gradient of v is handed to Adam: a task that has improved less than the others gains. The
weights add up to 1.
"""

import math
from collections.abc import Callable

import torch
from torch import Tensor

from deepchest_cli.weighting.base import MIN_LOSS, PerStepWeighter, TaskLosses, Tasks, check_option
from deepchest_cli.weighting.inner_adam import InnerAdam


class FamoWeighter(PerStepWeighter):
    """Weights under which the logarithms of all losses are to fall at the same rate.

    learning_rate: of Adam over v, above 0; 0.025 in the paper.
    decay: weight decay of Adam over v, 0 or above: how strongly the z_i are kept together; the
        paper's 0.001, in its code from 0.00001 to 0.01.

    A second forward pass of the batch is needed after each step. An absent task's v gets no
    gradient; Adam's momentum and the decay move it on.
    """

    scores: Tensor

    def __init__(self, tasks: Tasks, learning_rate: float = 0.025, decay: float = 1e-3) -> None:
        super().__init__(tasks)
        is_valid = 0 < learning_rate < math.inf
        check_option("famo", "learning_rate", learning_rate, is_valid, "above 0")
        check_option("famo", "decay", decay, 0 <= decay < math.inf, "0 or above")
        # a buffer: the optimizer of the model must not update it
        self.register_buffer("scores", torch.zeros(len(self.tasks), dtype=torch.float64))
        self.adam = InnerAdam(self.scores, learning_rate, decay)
        self.before: TaskLosses | None = None  # the losses of the step under way

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the objective of the step, which may be negative."""
        self.before = TaskLosses(losses.values.detach().clone(), losses.known)
        shifted = losses.values + MIN_LOSS
        shares = losses.softmax(self.scores)
        weights = shares / shifted.detach()
        total = weights.sum().clamp(min=torch.finfo(weights.dtype).tiny)  # none present: no NaN
        self.record(weights / total)
        return TaskLosses(shifted.log(), losses.known).weighted_by(shares / total)

    def after_step(self, recompute: Callable[[], TaskLosses]) -> None:
        """Update v by how much each loss has fallen; do nothing without a step before it."""
        if self.before is None:
            return
        # small differences call for double precision
        before, after = (one.detached_like(self.scores) for one in (self.before, recompute()))
        fallen = (before.values + MIN_LOSS).log() - (after.values + MIN_LOSS).log()
        shares = before.softmax(self.scores)
        self.before = None
        self.adam.descend(self.scores, shares * (fallen - shares @ fallen))
