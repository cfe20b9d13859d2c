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
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import SMALLEST, TaskLosses
from deepchest_cli.weighting.gradients.base import GradientWeighter, tasks_with_gradient
from deepchest_cli.weighting.inner_adam import InnerAdam

LEAST = 1e-3  # of a weight: below zero a loss would be driven up


class GradNormWeighter(GradientWeighter):
    """Weights that bring the tasks' gradient norms together, more for tasks that learn slowly.

    learning_rate: of Adam over the weights, above 0; 0.025 in the paper.
    alpha: 0 or above; how strongly a slow task is pulled up, 0: norms are made equal; 1.5 in the
        paper's NYUv2 experiments, 0.12 for tasks that are much alike.

    A step uses the weights that the steps before it led to. No weight falls below 0.001 (before
    the scaling). An absent task's weight gets no gradient; Adam's momentum moves it on.
    """

    ahead = True
    task_weights: Tensor
    first: Tensor

    def __init__(
        self, tasks: Sequence[str], learning_rate: float = 0.025, alpha: float = 1.5
    ) -> None:
        super().__init__(tasks)
        if not 0 < learning_rate < math.inf:
            raise UsageError(
                f"Option 'learning_rate' of gradnorm should be above 0. Found {learning_rate}."
            )
        if not 0 <= alpha < math.inf:
            raise UsageError(f"Option 'alpha' of gradnorm should be 0 or above. Found {alpha}.")
        self.alpha = alpha
        ones = torch.ones(len(self.tasks), dtype=torch.float64)
        self.register_buffer("task_weights", ones)
        self.register_buffer("first", torch.full_like(ones, math.nan))  # L_i(0)
        self.adam = InnerAdam(self.task_weights, learning_rate)

    @property
    def weights(self) -> Tensor:
        """The weights (T,) that the next step uses."""
        return self.task_weights.clone()

    @property
    def head_weights(self) -> Tensor:
        """The weights (T,) that the next step uses: the objective is the sum of w_i L_i."""
        return self.weights

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the gradient (K,) of the objective, then update the weights for the next step."""
        gradients = jacobian.detach()
        # the type first: Metal has no double precision
        direction = self.task_weights.to(gradients.dtype).to(gradients.device) @ gradients
        norms = torch.linalg.vector_norm(gradients, dim=1).cpu().double()
        if norms.isfinite().all():
            self._update(losses, norms, tasks_with_gradient(losses, norms))
        return direction

    def _update(self, losses: TaskLosses, norms: Tensor, felt: Tensor) -> None:
        device = self.task_weights.device
        norms, felt = norms.to(device), felt.to(device)
        # the device first: Metal has no double precision
        values = losses.values.detach().to(device).double().clamp(min=SMALLEST)
        is_new = felt & self.first.isnan()
        self.first.copy_(torch.where(is_new, values, self.first))
        if felt.any():
            slopes = torch.where(felt, self._slopes(values, norms, felt), 0.0)
            self.adam.descend(self.task_weights, slopes)
            self.task_weights.clamp_(min=LEAST)
            self.task_weights.mul_(len(self.tasks) / self.task_weights.sum())

    def _slopes(self, values: Tensor, norms: Tensor, felt: Tensor) -> Tensor:
        """Return the gradient (T,) of L_grad by the weights; for absent tasks anything."""
        scaled = self.task_weights * norms  # G
        rates = values / self.first
        rates = rates / rates[felt].mean()  # r
        targets = scaled[felt].mean() * rates**self.alpha
        return norms * torch.sign(scaled - targets)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the moments and the step number of Adam."""
        return self.adam.state()

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up moments and step number, as copies; rate and alpha are those of this weighter."""
        self.adam.load(state)
