"""Smooth Tchebycheff scalarisation (Lin et al. 2024, "Smooth Tchebycheff Scalarization for
Multi-Objective Optimization", arXiv 2402.19078), in the form of the library LibMTL.

With L_i the task's loss and T' the number of tasks that are present, the sums over these:
    in the warm-up:  objective = sum of log L_i
    after it:        objective = T' mu log(sum of exp(l_i / mu)),   l_i = log(L_i / n_i)
n_i, the nadir, is the task's mean training loss in the last epoch of the warm-up. The weight is
w_i = 1 / L_i in the warm-up, then T' softmax_i(l / mu) / L_i.
"""

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import (
    SMALLEST,
    Context,
    Performance,
    StepWeighter,
    TaskLosses,
    safe_log,
    softmax_over,
)
from deepchest_cli.weighting.scale_invariant import logs_of_present, slopes_of_logs

UNPLANNED = Context()


class SmoothTchebycheff(StepWeighter):
    """A smooth maximum of the losses' logarithms, each relative to where the warm-up left it.

    mu: above 0; near 0 only the task that has fallen behind most counts, the larger the more all
        count alike. The paper tries 0.01 to 1; 1 is LibMTL's default.
    warmup_epochs: 0 or above and below the epochs of the run; 4 in LibMTL. With 0 all n_i are 1.

    A loss below 1e-8 counts as 1e-8, without gradient.
    """

    nadir: Tensor

    def __init__(
        self,
        tasks: Sequence[str],
        mu: float = 1.0,
        warmup_epochs: int = 4,
        context: Context = UNPLANNED,
    ) -> None:
        super().__init__(tasks)
        _check(mu, warmup_epochs, context.epochs)
        self.mu, self.warmup_epochs = mu, warmup_epochs
        self.epoch = 0  # finished epochs; no buffer: to read one off a GPU would hold up each step
        self.register_buffer("nadir", torch.ones(len(self.tasks), dtype=torch.float64))

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the objective of the warm-up or of what follows; it may be negative."""
        if self.epoch < self.warmup_epochs:
            self.remember(slopes_of_logs(losses))
            return logs_of_present(losses).sum()
        # the type first: Metal has no double precision
        nadir = self.nadir.log().to(losses.values.dtype).to(losses.values.device)
        scores = (safe_log(losses) - nadir) / self.mu
        present, number = losses.present, losses.present.sum()
        self.remember(number * softmax_over(present, scores.detach()) * slopes_of_logs(losses))
        largest = self.mu * torch.logsumexp(scores.masked_fill(~present, -math.inf), dim=0)
        return torch.where(number > 0, number * largest, 0.0)  # none present: no NaN

    def end_epoch(self, performance: Performance) -> list[str]:
        """Count the epoch; take the nadir at the end of the warm-up, 1 where it is undefined."""
        self.epoch += 1
        if self.epoch != self.warmup_epochs:
            return []
        means = performance.training["loss"].to(self.nadir)
        self.nadir.copy_(means.clamp(min=SMALLEST).nan_to_num(nan=1.0))
        unknown = [task for task, gone in zip(self.tasks, means.isnan(), strict=True) if gone]
        return [
            f"No known label of {task} in the last warm-up epoch: its nadir stays 1."
            for task in unknown
        ]

    def get_extra_state(self) -> dict[str, Any]:
        """Return the number of finished epochs."""
        return {"epoch": self.epoch}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Go on from a checkpoint's epoch."""
        self.epoch = state["epoch"]


def _check(mu: float, warmup_epochs: int, epochs: int | None) -> None:
    if not 0 < mu < math.inf:
        raise UsageError(f"Option 'mu' of stch should be above 0. Found {mu}.")
    if warmup_epochs < 0:
        raise UsageError(
            f"Option 'warmup_epochs' of stch should be 0 or above. Found {warmup_epochs}."
        )
    if epochs is not None and epochs <= warmup_epochs:
        raise UsageError(
            f"Option 'warmup_epochs' of stch should be below the {count_of(epochs, 'epoch')} of "
            f"the run, which would otherwise never leave the warm-up. Found {warmup_epochs}.",
            f"Set warmup_epochs to {epochs - 1} or less, or epochs to {warmup_epochs + 1} or more.",
        )
