"""Smooth Tchebycheff scalarization (Lin et al. 2024, "Smooth Tchebycheff Scalarization for
Multi-Objective Optimization", arXiv 2402.19078), in the form of the library LibMTL.

With L_i the task's loss and T' the number of tasks that are present, the sums over these:
    in the warm-up:  objective = sum of log L_i
    after it:        objective = T' mu log(sum of exp(l_i / mu)),   l_i = log(L_i / n_i)
n_i, the nadir, is the task's mean training loss in the last epoch of the warm-up. The weight is
w_i = 1 / L_i in the warm-up, then T' softmax_i(l / mu) / L_i.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.data.text import count_of
from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import (
    MIN_LOSS,
    Context,
    Performance,
    PerStepWeighter,
    TaskLosses,
    Tasks,
    check_option,
    safe_log,
    to_like,
)
from deepchest_cli.weighting.scale_invariant import derivatives_of_logs, logs_of_present


class SmoothTchebycheff(PerStepWeighter):
    """A smooth maximum of the losses' logarithms, each relative to its value after the warm-up.

    mu: above 0; near 0 only the task that has fallen behind most counts, the larger the more all
        count alike. The paper tries 0.01 to 1; 1 is LibMTL's default.
    warmup_epochs: 0 or above and below the epochs of the run; 4 in LibMTL. With 0 all n_i are 1.

    A loss below 1e-8 counts as 1e-8, without gradient.
    """

    saved = ("epoch",)
    nadir: Tensor

    def __init__(
        self, tasks: Tasks, mu: float = 1.0, warmup_epochs: int = 4, context: Context = Context()
    ) -> None:
        super().__init__(tasks)
        _check(mu, warmup_epochs, context.epochs)
        self.mu, self.warmup_epochs = mu, warmup_epochs
        self.epoch = 0  # finished; no buffer: reading one from a GPU would delay each step
        self.register_buffer("nadir", torch.ones(len(self.tasks), dtype=torch.float64))

    def forward(self, losses: TaskLosses) -> Tensor:
        """Return the objective of the warm-up or of what follows; it may be negative."""
        if self.epoch < self.warmup_epochs:
            self.record(derivatives_of_logs(losses))
            return logs_of_present(losses).sum()
        scores = (safe_log(losses) - to_like(self.nadir.log(), losses.values)) / self.mu
        present, number = losses.present, losses.present.sum()
        self.record(number * losses.softmax(scores.detach()) * derivatives_of_logs(losses))
        largest = self.mu * torch.logsumexp(scores.masked_fill(~present, -math.inf), dim=0)
        return torch.where(number > 0, number * largest, 0.0)  # none present: no NaN

    def end_epoch(self, performance: Performance) -> list[str]:
        """Count the epoch; take the nadir at the end of the warm-up, 1 where it is undefined."""
        self.epoch += 1
        if self.epoch != self.warmup_epochs:
            return []
        means = performance.training_losses("stch")
        self.nadir.copy_(to_like(means.clamp(min=MIN_LOSS).nan_to_num(nan=1.0), self.nadir))
        return [
            f"No known label of {task} in the last warm-up epoch: its nadir stays 1."
            for task in self.named(means.isnan())
        ]


def _check(mu: float, warmup_epochs: int, epochs: int | None) -> None:
    check_option("stch", "mu", mu, 0 < mu < math.inf, "above 0")
    check_option("stch", "warmup_epochs", warmup_epochs, warmup_epochs >= 0, "0 or above")
    if epochs is not None and epochs <= warmup_epochs:
        raise UsageError(
            f"Option 'warmup_epochs' of stch should be below the {count_of(epochs, 'epoch')} of "
            f"the run, which would otherwise never leave the warm-up. Found {warmup_epochs}.",
            f"Set warmup_epochs to {epochs - 1} or less, or epochs to {warmup_epochs + 1} or more.",
        )
