"""From logits to one loss a finding; losses and sampling for rare findings act on single labels."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from deepchest_cli.config import TrainConfig, parse_assignments
from deepchest_cli.errors import UsageError, unknown_name
from deepchest_cli.weighting.losses import LabelLoss, cross_entropy


@dataclass(frozen=True)
class FocalLoss:
    """The cross-entropy times (1 - p)^gamma, p the probability of the true label.

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
        # negatives below the margin are so easy that they add nothing
        shifted = (torch.sigmoid(logits) - self.margin).clamp(min=1e-12)
        return -torch.log1p(-shifted) * shifted**self.gamma_negative


@dataclass(frozen=True)
class PriorAwareLoss:
    """A loss with factors for positives and with logit adjustment.

    pos_weight (T,): factor of the loss of positives.
    log_odds (T,): added to the logits in training only (Menon et al. 2021, "Long-tail learning via
    logit adjustment", equation 10, for one finding at a time).
    """

    base: LabelLoss
    pos_weight: Tensor
    log_odds: Tensor

    def __call__(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Return the loss of each label (B, T)."""
        loss = self.base(logits + self.log_odds, labels)
        return loss * torch.where(labels > 0, self.pos_weight, 1.0)


LOSSES: Mapping[str, Callable[..., LabelLoss]] = {"focal": FocalLoss, "asymmetric": AsymmetricLoss}


def build_loss(
    config: TrainConfig,
    positives: NDArray[np.float64],
    negatives: NDArray[np.float64],
    device: torch.device,
) -> LabelLoss:
    """Return the loss of a label; positives and negatives (T,) are those of a training epoch.

    A finding without known positives, or without negatives, keeps weight 1 and its logits.
    Raises `UsageError` for an option that the loss does not have or that is out of its range.
    """
    base = _base_loss(config)
    if not config.pos_weight_power and not config.logit_adjustment:
        return base
    ratio = np.ones_like(positives)
    np.divide(negatives, positives, out=ratio, where=(positives > 0) & (negatives > 0))
    pos_weight = torch.tensor(ratio**config.pos_weight_power, dtype=torch.float32, device=device)
    log_odds = torch.tensor(-np.log(ratio), dtype=torch.float32, device=device)
    return PriorAwareLoss(base, pos_weight, config.logit_adjustment * log_odds)


def _base_loss(config: TrainConfig) -> LabelLoss:
    options = parse_assignments(config.loss_option, "--loss-option")
    if config.loss not in LOSSES:
        if options:
            raise UsageError(
                f"The loss {config.loss!r} has no options. Found {next(iter(options))!r}.",
                "Choose --loss focal or --loss asymmetric.",
            )
        return cross_entropy
    loss = LOSSES[config.loss]
    names = [field.name for field in fields(loss)]  # type: ignore[arg-type]
    values = {}
    for key, text in options.items():
        if key not in names:
            raise unknown_name(f"option of the loss {config.loss!r}:", key, names)
        values[key] = _option_value(key, text)
    return loss(**values)


def _option_value(key: str, text: str) -> float:
    largest = 1.0 if key == "margin" else 100.0
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0 <= value <= largest:
        raise UsageError(f"Option {key!r} should be from 0 to {largest:g}. Found {text!r}.")
    return value


def label_counts(
    labels: NDArray[np.uint8], known: NDArray[np.uint8], draws: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the known positives and negatives of each task (K,) in an epoch.

    labels, known: (N, K); draws: how often an epoch has each image (N,).
    """
    positives = draws @ (labels & known)
    return positives, draws @ known - positives
