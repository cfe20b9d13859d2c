"""Excess-MTL (He et al. 2024, "Robust Multi-Task Learning with Excess Risks", ICML).

At every step, over the active tasks, with g_i the gradient of task i, S_i the sum of its
squares so far (for each component), and e_i(0) the excess risk at a task's first step:
    e_i = sum of g_i^2 / sqrt(S_i),   r_i = e_i / e_i(0)
    w_i <- w_i exp(step r_i), scaled to the sum 1
    direction = sum of w_i g_i
The sums take as much memory as all tasks' gradients, and as much space in a checkpoint.

Not guaranteed: that no loss is raised.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context, TaskLosses, Tasks, check_option, to_like
from deepchest_cli.weighting.gradients.aggregated import AggregatedWeighter
from deepchest_cli.weighting.gradients.base import active_tasks

EPSILON = 1e-7  # below the root and in the ratio, as in the authors' code


class ExcessWeighter(AggregatedWeighter):
    """Weights that grow with how much a task could still improve.

    step: above 0, how fast the weights move; 0.01 as in the paper.

    An inactive task keeps its share. Gradients are divided by the root of
    the mean square of the first step's, so that the constant under the root (1e-7) is small.
    """

    name = "excess-mtl"
    saved = ("squares",)
    shares: Tensor
    first: Tensor
    unit: Tensor

    def __init__(self, tasks: Tasks, step: float = 0.01, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        check_option("excess-mtl", "step", step, 0 < step < math.inf, "above 0")
        self.step = step
        self.register_buffer("shares", self.equal_weights / len(self.tasks))
        self.register_buffer("first", self.equal_weights * math.nan)  # e_i(0)
        self.register_buffer("unit", self.equal_weights[0] * math.nan)
        self.squares: Tensor | None = None  # S (T, K)

    def forward(self, losses: TaskLosses, jacobian: Tensor) -> Tensor:
        """Return the direction (K,) for the gradients (T, K) of all tasks."""
        gradients = jacobian.detach()
        norms = to_like(torch.linalg.vector_norm(gradients, dim=1), self.shares)
        finite = norms.isfinite().all()  # nothing waits to know it
        active = active_tasks(losses.present.to(norms.device), norms) & finite
        length = norms.norm() / gradients.numel() ** 0.5
        unit = torch.where(length > 0, length, 1.0)
        self.unit.copy_(torch.where(self.unit.isnan() & active.any(), unit, self.unit))
        self._update_shares(self._add_squares(gradients, active), active)
        weights = torch.where(active, self.shares, 0.0)
        # half precision skips such a step, or the run diverged
        return self.weighted(torch.where(finite, weights, 1.0), gradients)

    def _add_squares(self, gradients: Tensor, active: Tensor) -> Tensor:
        """Add the active tasks' squares to their sums; return the excess risks (T,)."""
        if self.squares is None:
            self.squares = torch.zeros_like(gradients)
        if self.squares.shape != gradients.shape:
            raise UsageError(
                f"excess-mtl needs gradients of the same size at every step. Found "
                f"{gradients.shape[1]} numbers after {self.squares.shape[1]}.",
                "Leave incomplete batches out, or give it gradients of parameters.",
            )
        self.squares = self.squares.to(gradients.device)  # from a checkpoint
        squares = (gradients / to_like(self.unit, gradients)).square_().to(self.squares.dtype)
        squares.masked_fill_(~active.to(squares.device)[:, None], 0.0)
        self.squares += squares
        return (self.squares + EPSILON).rsqrt_().mul_(squares).sum(dim=1)

    def _update_shares(self, found: Tensor, active: Tensor) -> None:
        """Update the shares of the active tasks, which keep their sum, by the risks (T,)."""
        risks = to_like(found, self.shares)
        self.first.copy_(torch.where(active & self.first.isnan(), risks, self.first))
        scores = self.shares.log() + self.step * risks / (self.first + EPSILON)
        total = torch.where(active, self.shares, 0.0).sum()
        moved = torch.softmax(scores.masked_fill(~active, -math.inf), dim=0) * total
        self.shares.copy_(torch.where(active, moved, self.shares))
