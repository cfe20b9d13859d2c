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
from torch import Tensor, nn

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
        self.eta, self.best_groups = eta, BestGroups(count, groups)
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
        weights = self.best_groups(separate, own.present)
        return losses.weighted_by(self.record(to_like(weights, losses.values)))

    def _update_shares(self, values: Tensor, present: Tensor) -> None:
        """Multiply the present tasks' shares by exp(-eta L); their sum stays as it is."""
        moved = self.log_shares - self.eta * values
        before, after = (
            torch.logsumexp(logs.masked_fill(~present, -math.inf), dim=0)
            for logs in (self.log_shares, moved)
        )
        self.log_shares.copy_(torch.where(present, moved + (before - after), self.log_shares))


class BestGroups(nn.Module):
    """The best K-means of T numbers, computed where they are: nothing waits for the host.

    The groups of least squared deviation are runs of the sorted numbers, so that trying all last
    runs finds them (Fisher 1958, "On Grouping for Maximum Homogeneity", JASA 53).
    """

    places: Tensor
    none: Tensor  # (1,), the deviation of no number
    upper: Tensor  # (T, T), 1 where a run's end is not before its begin
    counts: Tensor  # (T, T), how many numbers a run has
    ratios: Tensor  # (T, T - 1), n - 1 over n of runs that end at the second number or later
    outside: Tensor  # (T, T), where there is no run

    def __init__(self, count: int, groups: int) -> None:
        super().__init__()
        self.groups = groups
        upper = torch.ones(count, count, dtype=torch.float64).triu()
        counts = (upper @ upper).clamp(min=1)
        ratios = (counts[:, 1:] - 1) / counts[:, 1:]
        constants = {"upper": upper, "counts": counts, "ratios": ratios, "outside": upper == 0}
        for name, value in {
            **constants,
            "places": torch.arange(count),
            "none": upper.new_zeros(1),
        }.items():
            self.register_buffer(name, value, persistent=False)

    def forward(self, values: Tensor, present: Tensor) -> Tensor:
        """Return the mean (T,) of each number's group; absent ones are in none, and have 0."""
        ordered, order = torch.where(present, values, math.inf).sort()
        means, deviations = self._of_runs(ordered.nan_to_num(nan=math.nan, posinf=0.0))
        starts, last = self._starts(deviations, present.sum(dim=0, keepdim=True) - 1)
        begins_before = starts <= self.places
        first = torch.where(begins_before, starts, 0).amax(dim=0)
        final = torch.where(begins_before, last, starts - 1).amin(dim=0)
        found = torch.empty_like(values).scatter_(0, order, means[first, final])
        return torch.where(present, found, 0.0)

    def _of_runs(self, ordered: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean and squared deviation (T, T) of the numbers from each to each later one.

        By Welford's recurrence, whose terms do not cancel; infinite where there is no run.
        """
        means = (self.upper * ordered) @ self.upper / self.counts
        terms = (ordered[1:] - means[:, :-1]).square() * self.ratios
        return means, (terms @ self.upper[1:]).masked_fill(self.outside, math.inf)

    def _starts(self, deviations: Tensor, last: Tensor) -> tuple[Tensor, Tensor]:
        """Return where the groups (K, 1) of the numbers up to the last one (1,) begin, and this.

        Where fewer are as good, some begin at 0.
        """
        # of the best groups of the numbers up to each: the deviation, and where the last one begins
        best, begins = deviations[0], []
        for _ in range(1, self.groups):
            before = torch.cat([self.none, best[:-1]])
            best, begin = (before[:, None] + deviations).min(dim=0)
            begins.append(begin)
        last = last.clamp(min=0)
        starts, end = [torch.zeros_like(last)], last
        for begin in reversed(begins):
            starts.append(begin.gather(0, end))
            end = (starts[-1] - 1).clamp(min=0)
        return torch.stack(starts), last
