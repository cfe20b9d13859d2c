"""GO4Align, group optimization for task alignment (Shen et al. 2024, arXiv 2404.06486).

At every step, over the tasks that are present, with L_i the task's loss and p_i a share:
    p_i <- p_i exp(-eta L_i), scaled so that the shares add up to what they did before
    u_i = (the sum of all L_j / L_i) p_i
    w_i = the mean of the u_j in task i's group
The groups are the K-means of the numbers u. The objective is the sum of w_i L_i, w without
gradient. For equal losses and shares all weights are 1.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.weighting.base import (
    MIN_LOSS,
    PerStepWeighter,
    TaskLosses,
    Tasks,
    check_option,
    to_like,
)


class Go4AlignWeighter(PerStepWeighter):
    """Inverse losses times shares that follow the losses, made equal within groups of tasks.

    eta: how fast shares follow the losses, 0 or above; 0.0001 in the authors' code.
    groups: K, from 1 to the number of tasks; the paper tunes it for each data set. With 1 all
        weights are the same, with as many as tasks each has its own.

    An absent task keeps its share. A loss below 1e-8 counts as 1e-8 in weights. The groups are
    found exactly, without random starts.
    """

    log_shares: Tensor

    def __init__(self, tasks: Tasks, eta: float = 1e-4, groups: int = 2) -> None:
        super().__init__(tasks)
        check_option("go4align", "eta", eta, 0 <= eta < math.inf, "0 or above")
        count = len(self.tasks)
        rule = f"from 1 to the number of tasks, {count}"
        check_option("go4align", "groups", groups, 1 <= groups <= count, rule)
        self.eta, self.groups = eta, groups
        # log p: it does not underflow, however long the training
        start = torch.full((count,), -math.log(count), dtype=torch.float64)
        self.register_buffer("log_shares", start)

    def forward(self, losses: TaskLosses) -> Tensor:
        """Update the shares and return the weighted sum of the losses."""
        own = losses.detached_like(self.log_shares)
        self._update_shares(own.values, own.present)
        values = own.values.clamp(min=MIN_LOSS)
        total = torch.where(own.present, values, 0.0).sum()
        separate = total / values * own.softmax(self.log_shares)
        weights = group_means(separate, own.present, self.groups)
        return losses.weighted_by(self.record(to_like(weights, losses.values)))

    def _update_shares(self, values: Tensor, present: Tensor) -> None:
        """Multiply the present tasks' shares by exp(-eta L); their sum stays as it is."""
        moved = self.log_shares - self.eta * values
        before, after = (
            torch.logsumexp(logs.masked_fill(~present, -math.inf), dim=0)
            for logs in (self.log_shares, moved)
        )
        self.log_shares.copy_(torch.where(present, moved + (before - after), self.log_shares))


def group_means(values: Tensor, present: Tensor, groups: int) -> Tensor:
    """Return the mean (T,) of each number's group, in the best K-means of those present (T,).

    groups: at most so many, as fewer may be present. Absent numbers are in none; their mean is 0.

    The groups of least squared deviation are runs of the sorted numbers, so that trying all last
    runs finds them (Fisher 1958, "On Grouping for Maximum Homogeneity", JASA 53). All is computed
    where the numbers are, without a value that the host has to know.
    """
    ordered, order = values.masked_fill(~present, math.inf).sort()
    upper = torch.ones(len(values), len(values), dtype=values.dtype, device=values.device).triu()
    means, deviations = _of_runs(ordered.masked_fill(ordered == math.inf, 0.0), upper)
    # of so many groups the last one's begin (T,), for each number that may be the last of all
    best, begins = deviations[0], [torch.zeros_like(order)]
    for _ in range(1, groups):
        before = torch.nn.functional.pad(best[:-1], (1, 0))
        best, begin = (before[:, None] + deviations).min(dim=0)
        begins.append(begin)
    last = (present.sum(dim=0, keepdim=True) - 1).clamp(min=0)
    starts, end = [], last
    for begin in reversed(begins):
        starts.append(begin.gather(0, end))
        end = (starts[-1] - 1).clamp(min=0)
    places, each = torch.arange(len(values), device=values.device), torch.stack(starts)  # (K, 1)
    first = torch.where(each <= places, each, 0).amax(dim=0)
    final = torch.where(each <= places, last + 1, each).amin(dim=0) - 1
    found = torch.zeros_like(values).scatter(0, order, means[first, final])
    return torch.where(present, found, 0.0)


def _of_runs(ordered: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and squared deviation from it of the numbers from each to each later one.

    ordered: (T,). upper: (T, T), 1 where a run's end is not before its begin, else 0. Where it is
    0 the deviation is infinite. By Welford's recurrence, whose terms do not cancel.
    """
    counts = upper @ upper
    means = (upper * ordered) @ upper / counts.clamp(min=1)
    steps = (ordered[1:] - means[:, :-1]).square() * counts[:, :-1] / counts[:, 1:].clamp(min=1)
    deviations = steps @ upper[1:]
    return means, deviations.masked_fill(upper == 0, math.inf)
