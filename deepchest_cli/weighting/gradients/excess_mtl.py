"""Excess-MTL (He et al. 2024, "Robust Multi-Task Learning with Excess Risks", ICML).

At every step, over the tasks that take part, with g_i the gradient of task i, S_i the sum of its
squares so far (number by number), and e_i(0) the excess risk at a task's first step:
    e_i = sum of g_i^2 / sqrt(S_i),   r_i = e_i / e_i(0)
    w_i <- w_i exp(step r_i), scaled to the sum 1
    direction = sum of w_i g_i
The sums take as much memory as all tasks' gradients, and as much space in a checkpoint.

Not guaranteed: that no loss is raised.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context
from deepchest_cli.weighting.gradients import adapter
from deepchest_cli.weighting.gradients.aggregated import NO_SEED_GIVEN, AggregatedWeighter


class ExcessWeighter(AggregatedWeighter):
    """Weights that grow with how much a task could still be improved.

    step: above 0, how fast the weights move; 0.01 as in the paper.

    A task that does not take part in a step keeps its share. Gradients are divided by the root of
    the mean square of the first step's, so that the constant under the root (1e-7) is small.
    """

    name = "excess-mtl"
    by_torchjd = True

    def __init__(
        self, tasks: Sequence[str], step: float = 0.01, context: Context = NO_SEED_GIVEN
    ) -> None:
        super().__init__(tasks, context)
        if not 0 < step < math.inf:
            raise UsageError(f"Option 'step' of excess-mtl should be above 0. Found {step}.")
        self.step = step
        count = len(self.tasks)
        self.shares = torch.full((count,), 1 / count, dtype=torch.float64)
        self.first = torch.full((count,), math.nan, dtype=torch.float64)  # e_i(0)
        self.squares: Tensor | None = None  # S (T, K)
        self.unit = 0.0

    def combine(self, gradients: Tensor, gramian: Tensor, taking_part: Tensor) -> Tensor:
        """Return the direction (K,), and remember the weights."""
        if self.squares is None and not taking_part.any():
            self.last = torch.zeros_like(self.shares)
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
        if taking_part.any():
            self._follow(gradients, self.squares, taking_part)
        self.last = torch.where(taking_part, self.shares, 0.0)
        return self.weighted(gradients)

    def _follow(self, gradients: Tensor, sums: Tensor, taking_part: Tensor) -> None:
        """Move the shares of the tasks that take part, which keep their sum."""
        here = taking_part.to(gradients.device)
        rows, squares = gradients[here] / self.unit, sums[here]
        first, shares = self.first[taking_part], self.shares[taking_part]
        is_new = first.isnan()
        if is_new.any():
            risks = adapter.excess_risk(rows[is_new.to(rows.device)])
            first[is_new] = risks.cpu().to(first.dtype)
        # the type first: Metal has no double precision
        weights, risks = (
            (v.to(rows.dtype).to(rows.device)) for v in (shares / shares.sum(), first)
        )
        found = adapter.excess_mtl(rows, weights, squares, risks, self.step)
        sums[here] = squares
        self.first[taking_part] = first
        self.shares[taking_part] = found.cpu().to(shares.dtype) * shares.sum()

    def get_extra_state(self) -> dict[str, Any]:
        """Return sums, first risks and weights with the rest."""
        own = {"squares": self.squares, "first": self.first, "shares": self.shares}
        return {**super().get_extra_state(), **own, "unit": self.unit}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Take up the state of a checkpoint, as copies."""
        super().set_extra_state(state)
        self.squares = None if state["squares"] is None else state["squares"].clone()
        self.first, self.shares = state["first"].cpu().clone(), state["shares"].cpu().clone()
        self.unit = state["unit"]
