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
from deepchest_cli.weighting.base import Context, Tasks, check_option, to_like
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import AggregatedWeighter


class ExcessWeighter(AggregatedWeighter):
    """Weights that grow with how much a task could still improve.

    step: above 0, how fast the weights move; 0.01 as in the paper.

    An inactive task keeps its share. Gradients are divided by the root of
    the mean square of the first step's, so that the constant under the root (1e-7) is small.
    """

    name = "excess-mtl"
    uses_torchjd = True
    saved = ("squares", "first", "shares", "unit")

    def __init__(self, tasks: Tasks, step: float = 0.01, context: Context = Context()) -> None:
        super().__init__(tasks, context)
        check_option("excess-mtl", "step", step, 0 < step < math.inf, "above 0")
        self.step = step
        count = len(self.tasks)
        self.shares = torch.full((count,), 1 / count, dtype=torch.float64)
        self.first = torch.full((count,), math.nan, dtype=torch.float64)  # e_i(0)
        self.squares: Tensor | None = None  # S (T, K)
        self.unit = 0.0

    def combine(self, gradients: Tensor, gramian: Tensor, active: Tensor) -> Tensor:
        if self.squares is None and not active.any():
            self.last_weights = torch.zeros_like(self.shares)
            return self.weighted(gradients)
        if self.squares is None:
            self.squares = torch.zeros_like(gradients)
            self.unit = float(gramian.trace() / gradients.numel()) ** 0.5 or 1.0
        if self.squares.shape != gradients.shape:
            raise UsageError(
                f"excess-mtl needs gradients of the same size at every step. Found "
                f"{gradients.shape[1]} numbers after {self.squares.shape[1]}.",
                "Leave incomplete batches out, or give it gradients of parameters.",
            )
        self.squares = self.squares.to(gradients.device)
        if active.any():
            self._update_shares(gradients, self.squares, active)
        self.last_weights = torch.where(active, self.shares, 0.0)
        return self.weighted(gradients)

    def _update_shares(self, gradients: Tensor, sums: Tensor, active: Tensor) -> None:
        """Update the shares of the active tasks, which keep their sum."""
        mask = active.to(gradients.device)
        rows, squares = gradients[mask] / self.unit, sums[mask]
        first, shares = self.first[active], self.shares[active]
        is_new = first.isnan()
        if is_new.any():
            new_risks = adapter.excess_risk(rows[is_new.to(rows.device)])
            first[is_new] = new_risks.cpu().to(first.dtype)
        weights, risks = to_like(shares / shares.sum(), rows), to_like(first, rows)
        found = adapter.excess_mtl(rows, weights, squares, risks, self.step)
        sums[mask] = squares
        self.first[active] = first
        self.shares[active] = found.cpu().to(shares.dtype) * shares.sum()
