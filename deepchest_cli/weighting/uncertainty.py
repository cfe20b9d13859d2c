"""Uncertainty weighting (Kendall, Gal and Cipolla 2018, "Multi-Task Learning Using Uncertainty to
Weigh Losses for Scene Geometry and Semantics", arXiv 1705.07115).

Over the tasks that are present, with L_i the task's loss, sigma_i its learned uncertainty, s_i what
is learned of it, and w_i the weight that follows:
    classification:  objective = sum of exp(-s_i) L_i + s_i / 2,   s_i = log sigma_i^2
    authors:         objective = sum of exp(-2 s_i) L_i + s_i,     s_i = log sigma_i
Both are L_i / sigma_i^2 + log sigma_i; they differ in how fast a step of the optimizer moves sigma.
"""

import torch
from torch import Tensor, nn

from deepchest_cli.errors import unknown_name
from deepchest_cli.weighting.base import (
    MIN_LOSS,
    PerStepWeighter,
    TaskLosses,
    Tasks,
    check_option,
    to_like,
)

# form: factor of s_i in the exponent, factor of s_i beside it
FORMS = {"classification": (1.0, 0.5), "authors": (2.0, 1.0)}
MAX_LOG_SCALE = 20.0  # the best s_i of a loss of 1e-8 is -17.7


class UncertaintyWeighter(PerStepWeighter):
    """Weights that are learned with the model: the larger a loss stays, the lower its weight.

    form: classification, the paper's for cross-entropies; or authors, which the authors of
        DeepChest compare with.
    initial: s_i before the first step, from -20 to 20; 0, where all weights are 1. The paper
        finds that the start matters little.

    The optimizer of the model should hold the parameters, without weight decay. A loss below 1e-8
    counts as 1e-8, without gradient: s_i would fall without end at a loss of 0.
    """

    def __init__(self, tasks: Tasks, form: str = "classification", initial: float = 0.0) -> None:
        super().__init__(tasks)
        if form not in FORMS:
            raise unknown_name("form of uncertainty:", form, FORMS)
        is_valid = -MAX_LOG_SCALE <= initial <= MAX_LOG_SCALE
        check_option("uncertainty", "initial", initial, is_valid, "from -20 to 20")
        self.form = form
        start = torch.full((len(self.tasks),), float(initial), dtype=torch.float32)
        self.log_scales = nn.Parameter(start)

    def forward(self, losses: TaskLosses) -> Tensor:
        exponent, regularizer = FORMS[self.form]
        scales = to_like(self.log_scales, losses.values)
        weights = torch.exp(-exponent * scales)
        self.record(weights * (losses.present & (losses.values >= MIN_LOSS)))
        terms = weights * losses.values.clamp(min=MIN_LOSS) + regularizer * scales
        return torch.where(losses.present, terms, torch.zeros_like(terms)).sum()
