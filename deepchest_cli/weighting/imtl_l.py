"""IMTL-L, impartial losses (Liu et al. 2021, "Towards Impartial Multi-task Learning", ICLR).

Over the tasks that are present, with L_i the task's loss and s_i a learned number:
    objective = sum of exp(s_i) L_i - s_i,   hence   w_i = exp(s_i)
Where that is least by s_i, every weighted loss is 1. It is twice the uncertainty weighting of
L_i / 2 with the sign of s_i turned (see `uncertainty`, form classification).
"""

import torch
from torch import Tensor, nn

from deepchest_cli.weighting.base import MIN_LOSS, PerStepWeighter, TaskLosses, Tasks, to_like


class ImpartialLossWeighter(PerStepWeighter):
    """Weights that are learned with the model so that all weighted losses come near 1.

    s_i begins at 0 as in the paper, where all weights are 1. The optimizer of the model should
    hold the parameters, without weight decay. A loss below 1e-8 counts as 1e-8, without gradient:
    s_i would rise without end at a loss of 0.
    """

    def __init__(self, tasks: Tasks) -> None:
        super().__init__(tasks)
        self.log_weights = nn.Parameter(torch.zeros(len(self.tasks), dtype=torch.float32))

    def forward(self, losses: TaskLosses) -> Tensor:
        scales = to_like(self.log_weights, losses.values)
        weights = scales.exp()
        self.record(weights * (losses.present & (losses.values >= MIN_LOSS)))
        terms = weights * losses.values.clamp(min=MIN_LOSS) - scales
        return torch.where(losses.present, terms, torch.zeros_like(terms)).sum()
