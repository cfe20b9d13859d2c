"""What `rarity` can be driven by: validation figures in which more is worse, each (T,)."""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from deepchest_cli.errors import UsageError
from deepchest_cli.weighting.base import SMALLEST, Performance

Source = Callable[[Performance, Tensor | None], Tensor | None]  # with the losses (T,) before


def _auroc(now: Performance, before: Tensor | None) -> Tensor:
    return 1 - now.validation["auroc"]


def _loss_ratio(now: Performance, before: Tensor | None) -> Tensor:
    return now.validation["normalized_cross_entropy"]


def _gap(now: Performance, before: Tensor | None) -> Tensor:
    """The validation loss over the training loss, in logarithms: prevalences cancel."""
    return _log(now.validation["loss"]) - _log(now.training["loss"])


def _trend(now: Performance, before: Tensor | None) -> Tensor | None:
    return None if before is None else _log(now.validation["loss"]) - _log(before)


def _log(losses: Tensor) -> Tensor:
    return losses.double().clamp(min=SMALLEST).log()


# None where there is nothing to go by yet
RARITY_SIGNALS: Mapping[str, Source] = {
    "none": lambda now, before: None,
    "auroc": _auroc,
    "normalized-cross-entropy": _loss_ratio,
    "gap": _gap,
    "trend": _trend,
}


def standard_errors(signal: str, values: Tensor, now: Performance) -> Tensor:
    """Return how far each value (T,) may be off by the chance of which patients are in validation.

    Of an AUROC by Hanley and McNeil 1982. The others follow from losses, most of which the
    positives make: the relative error of a sum of n terms alike, one over the root of n.
    """
    if now.validation_counts is None:
        raise UsageError(
            "The certainty of rarity needs the counts of positives in validation.",
            "Give Performance its validation_counts, or set certainty to 0.",
        )
    positives: Tensor
    negatives: Tensor
    positives, negatives = now.validation_counts.double().cpu().clamp(min=1)
    if signal != "auroc":
        scale = values.abs() if signal == "normalized-cross-entropy" else torch.ones_like(values)
        return scale * positives.rsqrt()
    area = 1 - values
    both_above, both_below = area / (2 - area), 2 * area.square() / (1 + area)
    variance = area * (1 - area) + (positives - 1) * (both_above - area.square())
    variance = variance + (negatives - 1) * (both_below - area.square())
    return torch.sqrt(variance.clamp(min=0) / (positives * negatives))
