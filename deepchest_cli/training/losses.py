"""From logits to one loss a finding; what long-tailed labels call for acts on single labels."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from deepchest_cli.weighting.base import TaskLosses

LabelLoss = Callable[[Tensor, Tensor], Tensor]  # logits (B, T), labels (B, T) to losses (B, T)


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Return the binary cross-entropy of each label (B, T)."""
    return F.binary_cross_entropy_with_logits(logits, labels, reduction="none")


@dataclass(frozen=True)
class FocalLoss:
    """The cross-entropy times (1 - p)^gamma, p the probability of what is true.

    Lin et al. 2017, "Focal loss for dense object detection", equation 4; 2 is their gamma.
    """

    gamma: float = 2.0

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each label (B, T)."""
        loss = cross_entropy(logits, labels)
        if not self.gamma:
            return loss
        # 1 - p without cancellation, and away from 0, where a root has no slope
        return (-torch.expm1(-loss)).clamp(min=1e-12) ** self.gamma * loss


@dataclass(frozen=True)
class AsymmetricLoss:
    """Focal with a gamma for positives and one for negatives, whose probability is shifted down.

    Ridnik et al. 2021, "Asymmetric loss for multi-label classification", equations 4 to 7; their
    gammas are 0 and 4, their margin 0.05.
    """

    gamma_positive: float = 0.0
    gamma_negative: float = 4.0
    margin: float = 0.05

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each label (B, T)."""
        positive = FocalLoss(self.gamma_positive)(logits, torch.ones_like(labels))
        return torch.where(labels > 0, positive, self._of_negatives(logits))

    def _of_negatives(self, logits: Tensor) -> Tensor:
        if not self.margin:
            return FocalLoss(self.gamma_negative)(logits, torch.zeros_like(logits))
        # negatives below the margin are so easy that they have no say at all
        shifted = (torch.sigmoid(logits) - self.margin).clamp(min=1e-12)
        return -torch.log1p(-shifted) * shifted**self.gamma_negative


@dataclass(frozen=True)
class PriorAwareLoss:
    """A loss under which rare positives count more, by weight or by what a logit means.

    pos_weight_power (T,): factor of the loss of positives.
    log_odds (T,): added to the logits in training only, so that these come to rank findings as if
    each were as common as not (Menon et al. 2021, "Long-tail learning via logit adjustment",
    equation 10, for one finding at a time).
    """

    base: LabelLoss
    pos_weight_power: Tensor
    log_odds: Tensor

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each label (B, T)."""
        loss = self.base(logits + self.log_odds, labels)
        return loss * torch.where(labels > 0, self.pos_weight_power, 1.0)


def task_losses(
    logits: Tensor,
    labels: Tensor,
    known: Tensor,
    label_loss: LabelLoss = cross_entropy,
    counts: Tensor | None = None,
) -> TaskLosses:
    """Return the mean loss of each finding (T,) over its known labels.

    logits, labels, known: (B, T). An unknown label contributes neither value nor gradient. For a
    part of a batch, `counts` (T,) has the known labels of the whole: the parts' losses then add
    up to those of the whole.
    """
    # masked before the loss: zero times the gradient of an odd logit would not be zero
    each = label_loss(logits.float().masked_fill(~known, 0), labels)
    counts = known.sum(dim=0) if counts is None else counts
    total = torch.where(known, each, torch.zeros_like(each)).sum(dim=0)
    return TaskLosses(total / counts.clamp(min=1), counts)
