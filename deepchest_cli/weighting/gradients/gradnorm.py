"""GradNorm (Chen, Badrinarayanan, Lee and Rabinovich 2018, arXiv 1711.02257).

Over the tasks that are present, with L_i(0) the loss of a task's first step, g_i the gradient of
L_i by the weights of the last shared layer, w_i the task's weight, and T tasks:
    G_i = w_i |g_i|
    r_i = (L_i / L_i(0)) / (the mean of all L_j / L_j(0)),   the inverse training rate
    L_grad = sum of |G_i - mean(G) r_i^alpha|,   the right-hand term held constant
    gradient of w_i = |g_i| sign(G_i - mean(G) r_i^alpha)
The gradient of w is handed to Adam, and the weights are scaled to the sum T again. The objective
is the sum of w_i L_i: a task that learns slowly, or whose gradient is small, gains weight.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.weighting.base import MIN_LOSS, TaskLosses, Tasks, check_option, to_like
from deepchest_cli.weighting.gradients.base import GradientWeighter, active_tasks
from deepchest_cli.weighting.inner_adam import InnerAdam

MIN_WEIGHT = 1e-3  # below zero a loss would be raised


class GradNormWeighter(GradientWeighter):
    """Weights that equalize the tasks' gradient norms, with larger norms for slow tasks.

    learning_rate: of Adam over the weights, above 0; 0.025 in the paper.
    alpha: 0 or above; how strongly a slow task is pulled up, 0: equal norms; 1.5 in the
        paper's NYUv2 experiments, 0.12 for tasks that are very similar.

    A step uses the weights that the steps before it led to. No weight falls below 0.001 (before
    the scaling). An absent task's weight gets no gradient; Adam's momentum still changes it.
    """

    uses_previous_weights = True
    task_weights: Tensor
    first: Tensor

    def __init__(self, tasks: Tasks, learning_rate: float = 0.025, alpha: float = 1.5) -> None:
        super().__init__(tasks)
        is_valid = 0 < learning_rate < math.inf
        check_option("gradnorm", "learning_rate", learning_rate, is_valid, "above 0")
        check_option("gradnorm", "alpha", alpha, 0 <= alpha < math.inf, "0 or above")
        self.alpha = alpha
        ones = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("task_weights", ones)
        self.register_buffer("first", torch.full_like(ones, math.nan))  # L_i(0)
        self.adam = InnerAdam(self.task_weights, learning_rate)

    @property
    def weights(self) -> Tensor:
        return self.task_weights.clone()

    @property
    def head_weights(self) -> Tensor:
        """The weights (T,) that the next step uses: the objective is the sum of w_i L_i."""
        return self.weights

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the gradient (K,) of the objective, then update the weights for the next step."""
        gradients = jacobian.detach()
        direction = to_like(self.task_weights, gradients) @ gradients
        norms = to_like(torch.linalg.vector_norm(gradients, dim=1), self.task_weights)
        self._update(losses.detached_like(self.task_weights), norms)
        return direction

    def _update(self, losses: TaskLosses, norms: Tensor) -> None:
        """Move the weights, unless a norm (T,) is not finite; nothing waits to know that."""
        active = active_tasks(losses.present, norms) & norms.isfinite().all()
        values = losses.values.clamp(min=MIN_LOSS)
        self.first.copy_(torch.where(active & self.first.isnan(), values, self.first))
        gradient, valid = self._gradient(values, norms, active), active.any()
        self.adam.descend(self.task_weights, torch.where(active, gradient, 0.0), valid)
        moved = self.task_weights.clamp(min=MIN_WEIGHT)
        moved *= len(self.tasks) / moved.sum()
        self.task_weights.copy_(torch.where(valid, moved, self.task_weights))

    def _gradient(self, values: Tensor, norms: Tensor, active: Tensor) -> Tensor:
        """Return the gradient (T,) of L_grad by the weights; for absent tasks anything."""
        scaled = self.task_weights * norms  # G
        rates = values / self.first
        rates = rates / _mean(rates, active)  # r
        targets = _mean(scaled, active) * rates**self.alpha
        return norms * torch.sign(scaled - targets)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    """Return the mean of those values (T,) that a mask (T,) chooses."""
    return torch.where(chosen, values, 0.0).sum() / chosen.sum()
