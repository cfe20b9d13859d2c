"""From logits to one loss a finding."""

import torch
import torch.nn.functional as F
from torch import Tensor

from deepchest_cli.weighting.base import TaskLosses


def task_losses(logits: Tensor, labels: Tensor, known: Tensor) -> TaskLosses:
    """Return the mean binary cross-entropy of each finding (T,) over its known labels.

    logits, labels, known: (B, T). An unknown label contributes neither value nor gradient.
    """
    # masked before the loss: zero times the gradient of an odd logit would not be zero
    logits = logits.float().masked_fill(~known, 0)
    each = F.binary_cross_entropy_with_logits(logits, labels, reduction="none")
    counts = known.sum(dim=0)
    total = torch.where(known, each, torch.zeros_like(each)).sum(dim=0)
    return TaskLosses(total / counts.clamp(min=1), counts)
