"""Weights by rarity: inverse frequency, the plain remedy for long tails (baseline).

With p_i the share of positives among task i's known training labels and T tasks:
    w_i = T p_i^-power / (the sum of all p_j^-power)
The objective is the sum of w_i L_i, the same w_i over the whole run. Cui et al. 2019
(arXiv 1901.05555) discuss the powers 1 and 1/2 for classes.
"""

import math

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import Context, Tasks, WeightedSumWeighter, check_option


class PrevalenceWeighter(WeightedSumWeighter):
    """The sum of the task losses times weights that grow as the finding is rarer.

    power: 0 or above; 1 is the inverse frequency, 0.5 its root, 0 equal weights.
    A task without a positive or without a known label gets the mean weight of the others.
    """

    def __init__(self, tasks: Tasks, power: float = 1.0, context: Context = Context()) -> None:
        super().__init__(tasks)
        check_option("prevalence", "power", power, 0 <= power < math.inf, "0 or above")
        if context.prevalence is None:
            raise UsageError(
                "Weighter 'prevalence' needs the training labels to be known.",
                "Give it a context with the prevalence of every task.",
            )
        weights = _by_rarity(context.prevalence.detach().cpu().double(), power, len(self.tasks))
        self.task_weights.copy_(weights)


def _by_rarity(prevalence: Tensor, power: float, tasks: int) -> Tensor:
    if prevalence.shape != (tasks,) or ((prevalence < 0) | (prevalence > 1)).any():
        raise UsageError(
            f"Weighter 'prevalence' needs a prevalence from 0 to 1 for each of {tasks} tasks. "
            f"Found {prevalence.tolist()}."
        )
    defined = prevalence > 0  # not so for NaN either
    if not defined.any():
        raise UsageError("Weighter 'prevalence' needs a positive label in training. Found none.")
    logarithms = -power * prevalence[defined].log()
    rarity = (logarithms - logarithms.max()).exp()  # a high power of 1 / p would overflow
    weights = torch.full_like(prevalence, rarity.mean().item())
    weights[defined] = rarity
    return tasks * weights / weights.sum()
