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
        norms = torch.linalg.vector_norm(gradients, dim=1).cpu().double()
        if norms.isfinite().all():
            self._update(losses, norms, active_tasks(losses, norms))
        return direction

    def _update(self, losses: TaskLosses, norms: Tensor, active: Tensor) -> None:
        device = self.task_weights.device
        norms, active = norms.to(device), active.to(device)
        values = losses.detached_like(self.task_weights).values.clamp(min=MIN_LOSS)
        is_new = active & self.first.isnan()
        self.first.copy_(torch.where(is_new, values, self.first))
        if active.any():
            gradient = self._gradient(values, norms, active)
            self.adam.descend(self.task_weights, torch.where(active, gradient, 0.0))
            self.task_weights.clamp_(min=MIN_WEIGHT)
            self.task_weights.mul_(len(self.tasks) / self.task_weights.sum())

    def _gradient(self, values: Tensor, norms: Tensor, active: Tensor) -> Tensor:
        """Return the gradient (T,) of L_grad by the weights; for absent tasks anything."""
        scaled = self.task_weights * norms  # G
        rates = values / self.first
        rates = rates / rates[active].mean()  # r
        targets = scaled[active].mean() * rates**self.alpha
        return norms * torch.sign(scaled - targets)
