"""GO4Align, group optimization for task alignment (Shen et al. 2024, arXiv 2404.06486).

At every step, over the tasks that are present, with L_i the task's loss and p_i a share:
    p_i <- p_i exp(-eta L_i), scaled so that the shares add up to what they did before
    u_i = (the sum of all L_j / L_i) p_i
    w_i = the mean of the u_j in task i's group
The groups are the K-means of the numbers u. The objective is the sum of w_i L_i, w without
gradient. For equal losses and shares all weights are 1.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from deepchest_cli.weighting.base import MIN_LOSS, PerStepWeighter, TaskLosses, Tasks, check_option


class Go4AlignWeighter(PerStepWeighter):
    """Inverse losses times shares that follow the losses, made equal within groups of tasks.

    eta: how fast shares follow the losses, 0 or above; 0.0001 in the authors' code.
    groups: K, from 1 to the number of tasks; the paper tunes it for each data set. With 1 all
        weights are the same, with as many as tasks each has its own.

    An absent task keeps its share. A loss below 1e-8 counts as 1e-8 in weights. The groups are
    found exactly, without random starts, on the CPU: every step waits for a GPU.
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
        total = values[own.present].sum()
        separate = (total / values * own.softmax(self.log_shares))[own.present]
        weights = torch.zeros_like(losses.values)
        weights[losses.present] = weights.new_tensor(group_means(separate.tolist(), self.groups))
        return losses.weighted_by(self.record(weights))

    def _update_shares(self, values: Tensor, present: Tensor) -> None:
        """Multiply the present tasks' shares by exp(-eta L); their sum stays as it is."""
        moved = self.log_shares - self.eta * values
        before, after = (
            torch.logsumexp(logs.masked_fill(~present, -math.inf), dim=0)
            for logs in (self.log_shares, moved)
        )
        self.log_shares.copy_(torch.where(present, moved + (before - after), self.log_shares))


def group_means(values: Sequence[float], groups: int) -> list[float]:
    """Return the mean of each number's group, in the best K-means of the numbers.

    groups: at most so many, as there may be fewer numbers. The groups of least squared deviation
    are runs of the sorted numbers, so that trying all last runs finds them.
    """
    if groups >= len(values):
        return list(values)
    order = sorted(range(len(values)), key=values.__getitem__)
    ordered = [values[i] for i in order]
    deviations = _deviations(ordered)
    # for the first n numbers: the least deviation, and where each group begins
    best: list[tuple[float, list[int]]] = [(0.0, []), *((math.inf, []) for _ in ordered)]
    for _ in range(groups):
        best = [
            best[0],
            *(
                min(
                    (best[first][0] + deviations[first][end - 1 - first], [*best[first][1], first])
                    for first in range(end)
                )
                for end in range(1, len(ordered) + 1)
            ),
        ]
    means = [0.0] * len(values)
    begins = best[-1][1]
    for first, end in zip(begins, [*begins[1:], len(ordered)], strict=True):
        for i in order[first:end]:
            means[i] = math.fsum(ordered[first:end]) / (end - first)
    return means


def _deviations(ordered: Sequence[float]) -> list[list[float]]:
    """Return the squared deviation from their mean of the numbers from each to each later one."""
    rows = []
    for first in range(len(ordered)):
        mean, deviation, row = 0.0, 0.0, []
        for count, value in enumerate(ordered[first:], start=1):
            step = value - mean
            mean += step / count
            deviation += step * (value - mean)
            row.append(deviation)
        rows.append(row)
    return rows
